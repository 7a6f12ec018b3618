package sfbatch

import java.lang.reflect.{InvocationTargetException, Method, Proxy}
import java.nio.file.{Files, Paths}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileStatus, Path}
import org.apache.hadoop.hive.metastore.HiveMetaStoreClient
import org.apache.hadoop.hive.metastore.api.{Partition => HivePartition, ThriftHiveMetastore}
import scala.jdk.CollectionConverters._
import scala.collection.mutable

/** What one publish asks of the metastore and of the file system: exactly, and the same for long histories and large
  * tables.
  */
class CountsSuite extends OnOneSpark {
  private val conf = {
    val c = new Configuration
    c.set("hive.metastore.uris", LocalLake.uri)
    c
  }
  private val caller = Caller("ada", "host1", None, None)
  private val warehouse = Warehouse(conf, caller)
  private val settings = TableLock.Settings(60000, 60000)
  private val asked = mutable.LinkedHashMap.empty[String, Int]
  private def count(what: String): Unit = asked.synchronized(asked(what) = asked.getOrElse(what, 0) + 1)

  private final class CountingStore(inner: Store) extends Store {
    def createExclusive(path: Path, bytes: Array[Byte]): Boolean = {
      count("create"); inner.createExclusive(path, bytes)
    }
    def read(path: Path): Option[Array[Byte]] = { count("read"); inner.read(path) }
    def list(directory: Path): Seq[FileStatus] = { count("list"); inner.list(directory) }
    def exists(path: Path): Boolean = { count("exists"); inner.exists(path) }
    def makeDirectory(path: Path): Unit = { count("mkdir"); inner.makeDirectory(path) }
    def qualified(path: Path): Path = inner.qualified(path)
  }

  private def countingMetastore(): Metastore = {
    val hive = Metastore.hiveConf(conf)
    val client = new HiveMetaStoreClient(hive)
    val field = classOf[HiveMetaStoreClient].getDeclaredField("client")
    field.setAccessible(true)
    val real = field.get(client)
    val counting = Proxy.newProxyInstance(
      getClass.getClassLoader,
      Array[Class[_]](classOf[ThriftHiveMetastore.Iface]),
      (_: Any, method: Method, arguments: Array[Object]) => {
        count(method.getName)
        try method.invoke(real, arguments: _*)
        catch { case e: InvocationTargetException => throw e.getCause }
      }
    )
    val metastore = new Metastore(hive)
    val connected = classOf[Metastore].getDeclaredField("connected")
    connected.setAccessible(true)
    connected.set(metastore, Some((client, counting)))
    metastore
  }

  private var tables = 0
  private def create(partitionColumns: Seq[Column] = Seq(Column("date", "string"))): Table = {
    tables += 1
    warehouse.create(
      TableSpec(
        "default",
        s"counts_$tables",
        Format.Text,
        Format.Text.storage,
        PartitionStyle.Value,
        Seq(Column("id", "bigint")),
        partitionColumns,
        None,
        None,
        Map.empty
      )
    )
  }

  /** What one overwrite of these partitions asks for, from its claim to its end. */
  private def overwrite(table: Table, partitions: Seq[String]*): Map[String, Int] = {
    val journal = new Journal(table.root, table.id, new CountingStore(Store.of(table.root, conf)))
    // A batch ID is a second: two writes in one cost a look for a free one.
    Thread.sleep(1005 - System.currentTimeMillis() % 1000)
    asked.clear()
    val metastore = countingMetastore()
    val state = journal.current(journal.tail())
    val batch = journal.claim(caller)
    val transact = (body: Transaction => Outcome) =>
      body(
        new Transaction(
          table,
          journal,
          metastore,
          () => new Metastore(Metastore.hiveConf(conf)),
          true,
          caller,
          settings
        )
      )
    val write = new TableWrite(table, WriteOptions(append = false), batch, state.partitions, journal, transact, caller)
    val written = partitions.map { values =>
      val directory = Paths.get(PartitionPath.batch(table, values, batch).toUri.getPath)
      Files.createDirectories(directory)
      Files.write(directory.resolve("part-0"), Array[Byte]('1', '\n'))
      Written(values, batch, 1, 2, Some(1))
    }
    write.publish(written)
    metastore.close()
    asked.toMap
  }

  /** Versions that change no partition, as anchors do; the first may abort the one before. */
  private def grow(table: Table, versions: Int, aborts: Option[Long] = None): Unit = {
    val journal = new Journal(table.root, table.id, Store.of(table.root, conf))
    var state = journal.current(journal.tail())
    val home = Paths.get(table.root.toUri.getPath, "_sfbatch", "journal")
    (1 to versions).foreach { i =>
      val anchor = Recovery.draft(table, caller, "anchor", state).copy(anchor = Some("a"), anchorVersion = Some(1))
      val entry =
        if (i == 1 && aborts.isDefined) anchor.copy(operation = "abort", aborts = aborts, anchor = None) else anchor
      val block = home.resolve(f"${(entry.version - 1) / 400}%08d")
      Files.createDirectories(block)
      Files.write(block.resolve(f"${entry.version}%012d.json.gz"), Json.gzip(Entry.toJson(entry)))
      Files.createFile(block.resolve(f"${entry.version}%012d.done"))
      state = state.replay(entry)
      if (entry.version % 100 == 0) journal.writeCheckpoint(state)
    }
  }

  /** Partitions that are there and that nobody writes. */
  private def addOthers(table: Table, number: Int): Unit = {
    val hive = LocalLake.metastore.getTable(table.database, table.name)
    val parts = (1 to number).map { i =>
      val p = new HivePartition
      p.setDbName(table.database)
      p.setTableName(table.name)
      p.setValues(java.util.Collections.singletonList(f"other$i%05d"))
      p.setSd(hive.getSd.deepCopy())
      p.getSd.setLocation(s"${table.root}/_sfbatch/empty")
      p.setParameters(new java.util.HashMap[String, String])
      p
    }
    parts.grouped(500).foreach(some => LocalLake.metastore.add_partitions(some.asJava))
    val journal = new Journal(table.root, table.id, Store.of(table.root, conf))
    val state = journal.current(journal.tail())
    val shown = (p: HivePartition) =>
      Shown(None, Some(p.getSd.getLocation), state.version + 1, table.columns, table.storage, None, None, None)
    journal.commit(
      Recovery
        .draft(table, caller, "external", state)
        .copy(changes = parts.map(p => PartitionChange(p.getValues.asScala.toList, Some(shown(p)), None)))
    )
    journal.markShown(state.version + 1)
  }

  // The journal's part: LIST of the newest block (twice: before the claim and under the lock), of `_sfbatch` (is there an unclear mark?), and of
  // each batch directory; claim, entry and mark are created; a read of the next version: has anyone overtaken us?
  private def files(partitions: Int) = Map("create" -> 3, "list" -> (3 + partitions), "read" -> 1)
  private val lock = Map("lock" -> 1, "check_lock" -> 1, "unlock" -> 1)
  // The table is still the one that was checked; the partitions before and after.
  private val reads = Map("get_table_req" -> 1, "get_partitions_by_names" -> 2)
  private val alter = "alter_partitions_with_environment_context" -> 1
  private val add = "add_partitions" -> 1
  private val template = "get_table_req" -> 2 // new partitions are made after the table

  // Four minutes with all: `make bench-publishes`.
  private val large = sys.env.contains("SFBATCH_TEST_LARGE")
  override val munitTimeout = scala.concurrent.duration.Duration(if (large) 3600 else 1200, "s")

  for (
    (partitions, versions) <- Seq((10, 10)) ++ (if (large) Seq((10, 10000), (50000, 10))
                                                else Seq((10, 1010), (1000, 10)))
  )
    test(s"$partitions partitions not written, $versions versions: a publish asks for the same") {
      val table = create()
      addOthers(table, partitions)
      grow(table, versions)
      overwrite(table, Seq("a"), Seq("b"))
      assertEquals(overwrite(table, Seq("c"), Seq("d")), files(2) ++ lock ++ reads + add + template)
      assertEquals(overwrite(table, Seq("a"), Seq("b")), files(2) ++ lock ++ reads + alter)
      assertEquals(
        overwrite(table, Seq("a"), Seq("e")),
        files(2) ++ lock ++ reads + add + alter + template + ("mkdir" -> 1) + ("list" -> (3 + 2 + 1)) // still empty?
      )
    }

  test("a version that was aborted costs one read of its abort, however many versions followed") {
    val table = create()
    overwrite(table, Seq("a"))
    val journal = new Journal(table.root, table.id, Store.of(table.root, conf))
    val state = journal.current(journal.tail())
    val refused = Recovery.draft(table, caller, "anchor", state).copy(anchor = Some("b"), anchorVersion = Some(1))
    assert(journal.commit(refused))
    assert(journal.markRefused(refused.version))
    grow(table, 50, aborts = Some(refused.version))
    overwrite(table, Seq("a"))
    assertEquals(overwrite(table, Seq("a")), files(1) ++ lock ++ reads + alter + ("read" -> 2))
  }

  test("many partitions at once cost a listing of each, and no more calls") {
    val table = create()
    val many = (1 to 60).map(i => Seq(f"p$i%02d"))
    overwrite(table, many: _*)
    assertEquals(overwrite(table, many: _*), files(60) ++ lock ++ reads + alter)
  }

  test("an unpartitioned table: three reads of it and one alter") {
    val table = create(Nil)
    overwrite(table, Nil)
    assertEquals(
      overwrite(table, Nil),
      files(1) ++ lock + ("get_table_req" -> 4) + ("alter_table_with_environment_context" -> 1)
    )
  }

  test("a driver that has not read the journal yet reads the newest checkpoint and what follows it") {
    val table = create()
    overwrite(table, Seq("a"))
    grow(table, 1010)
    overwrite(table, Seq("a")) // version 1013
    forget()
    assertEquals(
      overwrite(table, Seq("a")),
      files(1) ++ lock ++ reads + alter + ("list" -> (3 + 1 + 2)) + ("read" -> (1 + 14))
    )
  }

  private def forget(): Unit = {
    val cache = Journal.getClass.getDeclaredFields.find(_.getName.endsWith("cache")).get
    cache.setAccessible(true)
    cache.get(Journal).asInstanceOf[java.util.Map[_, _]].clear()
  }
}
