package sfbatch

import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Paths}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.metastore.api.ShowLocksRequest
import scala.jdk.CollectionConverters._

/** The protocol by itself, on a real metastore server, without Spark: files are written by hand. */
class ProtocolSuite extends munit.FunSuite {
  override val munitTimeout = scala.concurrent.duration.Duration(300, "s")
  private val conf = {
    val c = new Configuration
    c.set("hive.metastore.uris", LocalLake.uri)
    c.setInt("sfbatch.lock.heartbeat-ms", 300)
    c
  }
  private val warehouse = Warehouse(conf, Caller("ada", "host1", Some("app-1"), None))
  private val columns = Seq(Column("id", "bigint"), Column("item", "string"))
  private val day = Seq(Column("date", "string"))
  private var count = 0

  private def create(partitionColumns: Seq[Column] = day): Table = {
    count += 1
    warehouse.create(
      TableSpec(
        "default",
        s"protocol_$count",
        Format.Text,
        Format.Text.storage,
        PartitionStyle.Value,
        columns,
        partitionColumns,
        None,
        None,
        Map.empty
      )
    )
  }

  private def writeFile(
      table: Table,
      values: Seq[String],
      batch: BatchId,
      text: String,
      name: String = "part-0"
  ): Written = {
    val directory = Paths.get(PartitionPath.batch(table, values, batch).toUri.getPath)
    Files.createDirectories(directory)
    Files.write(directory.resolve(name), text.getBytes(UTF_8))
    val files = Files.list(directory).iterator.asScala.toSeq
    Written(values, batch, files.size.toLong, files.map(Files.size(_)).sum, Some(1))
  }

  private def begin(table: Table, options: WriteOptions = WriteOptions(append = false)): Write =
    warehouse
      .begin(warehouse.table(table.database, table.name), options)
      .fold(a => fail(s"already published: $a"), identity)

  private def overwrite(table: Table, texts: (String, String)*): Outcome = {
    val write = begin(table)
    write.publish(texts.map { case (date, text) => writeFile(write.table, Seq(date), write.batchId, text) })
  }

  /** What a stock reader finds: partition -> the text of its files. */
  private def shown(table: Table): Map[String, String] =
    LocalLake.metastore
      .listPartitions(table.database, table.name, (-1).toShort)
      .asScala
      .map(p => p.getValues.asScala.mkString("/") -> text(p.getSd.getLocation))
      .filter(_._2.nonEmpty)
      .toMap
  private def text(location: String): String =
    Files
      .list(Paths.get(new Path(location).toUri.getPath))
      .iterator
      .asScala
      .toSeq
      .filterNot(_.getFileName.toString.startsWith("_"))
      .sorted
      .map(p => new String(Files.readAllBytes(p), UTF_8))
      .mkString

  private def journal(table: Table) = new Journal(table.root, table.id, Store.of(table.root, conf))

  /** Replay equals the metastore. */
  private def assertReplay(table: Table): Unit = {
    val files = journal(table)
    val tail = files.tail()
    val replayed = (1L to tail.newest).map(v => files.entry(v).get).foldLeft(Snapshot.empty)(_ replay _)
    assertEquals(replayed, files.snapshot(tail.newest))
    val expected = replayed.partitions.map { case (v, s) =>
      v -> s.location.getOrElse(PartitionPath.batch(table, v, s.batchId.get).toString)
    }
    val actual = LocalLake.metastore
      .listPartitions(table.database, table.name, (-1).toShort)
      .asScala
      .map(p => (p.getValues.asScala.toSeq: Seq[String]) -> new Path(p.getSd.getLocation).toString)
      .filterNot(_._2.endsWith("/_sfbatch/empty"))
      .toMap
    if (table.isPartitioned)
      assertEquals(actual.map { case (k, v) => k.toList -> v }, expected.map { case (k, v) => k.toList -> v })
    assertEquals(
      (tail.listedFrom to tail.newest).filterNot(v =>
        tail.finished(v) || files.entry(v + 1).exists(_.aborts.contains(v))
      ),
      Vector.empty
    )
  }

  test("a write is seen after publish, and the old batch stays") {
    val table = create()
    assertEquals(overwrite(table, "20161031" -> "old", "20161101" -> "x"), Outcome.Published(Some(2), 2))
    val before = shown(table)
    assertEquals(before, Map("20161031" -> "old", "20161101" -> "x"))
    overwrite(table, "20161031" -> "new", "20161102" -> "y")
    assertEquals(shown(table), Map("20161031" -> "new", "20161101" -> "x", "20161102" -> "y"))
    assertEquals(LocalLake.directories(table.root).count(_.startsWith("20161031/")), 2)
    assertReplay(table)
  }

  test("a batch that was never published is invisible") {
    val table = create()
    overwrite(table, "1" -> "a")
    val write = begin(table)
    writeFile(write.table, Seq("1"), write.batchId, "b")
    assertEquals(shown(table), Map("1" -> "a"))
  }

  test("a version committed but not shown is finished by the next writer") {
    val table = create()
    overwrite(table, "1" -> "a")
    val write = begin(table)
    val w = writeFile(write.table, Seq("1"), write.batchId, "b")
    val files = journal(table)
    val state = files.snapshot(2)
    val entry = Recovery
      .draft(write.table, warehouse.caller, "write", state)
      .copy(
        changes = Seq(
          PartitionChange(
            w.values,
            Some(Shown(Some(w.batchId), None, 3, columns, write.table.storage, Some(1), Some(w.bytes), Some(1))),
            None
          )
        ),
        batchId = Some(write.batchId)
      )
    assert(files.commit(entry))
    overwrite(table, "2" -> "c")
    assertEquals(shown(table), Map("1" -> "b", "2" -> "c"))
    assertReplay(table)
  }

  test("a version that shows a stranger's directory is closed by an abort") {
    val table = create()
    overwrite(table, "1" -> "a")
    val files = journal(table)
    val loaded = warehouse.table(table.database, table.name)
    val forged = Shown(None, Some("file:/etc"), 3, columns, loaded.storage, None, None, None)
    assert(
      files.commit(
        Recovery
          .draft(loaded, warehouse.caller, "write", files.snapshot(2))
          .copy(changes = Seq(PartitionChange(Seq("1"), Some(forged), None)), txn = Some(Txn("app", 7)))
      )
    )
    val result = warehouse.recover(loaded)
    assertEquals(result.aborted, Seq(3L))
    assertEquals(shown(table), Map("1" -> "a"))
    assertEquals(files.snapshot(4).txns, Map.empty[String, Long])
    assertReplay(table)
  }

  test("a late call that shows an older version is put right by the next writer") {
    val table = create()
    overwrite(table, "1" -> "a", "2" -> "b")
    val old = LocalLake.metastore.getPartition(table.database, table.name, java.util.Collections.singletonList("1"))
    overwrite(table, "1" -> "c")
    LocalLake.metastore.alter_partition(table.database, table.name, old)
    assertEquals(shown(table), Map("1" -> "a", "2" -> "b"))
    warehouse.recover(warehouse.table(table.database, table.name))
    assertEquals(shown(table), Map("1" -> "c", "2" -> "b"))
    assertReplay(table)
  }

  test("a partition others dropped is not resurrected by an append, and history says so") {
    val table = create()
    overwrite(table, "1" -> "a", "2" -> "b")
    val write = begin(table, WriteOptions(append = true))
    val base = write.current.get(Seq("1"))
    LocalLake.metastore.dropPartition(table.database, table.name, java.util.Collections.singletonList("1"), false)
    val w = writeFile(write.table, Seq("1"), write.batchId, "a+").copy(base = base)
    assertEquals(write.publish(Seq(w)), Outcome.BaseMoved(Map(Seq("1") -> None)))
    assertEquals(warehouse.history(table, None, 1).map(_.operation), Seq("external"))
    assertEquals(write.publish(Seq(w.copy(base = None))), Outcome.Published(Some(4), 1))
    assertReplay(table)
  }

  test("an append whose base moved is told so and publishes nothing") {
    val table = create()
    overwrite(table, "1" -> "a")
    val write = begin(table, WriteOptions(append = true))
    overwrite(table, "1" -> "b")
    val w = writeFile(write.table, Seq("1"), write.batchId, "a+").copy(base = write.current.get(Seq("1")))
    write.publish(Seq(w)) match {
      case Outcome.BaseMoved(now) => assertEquals(now.keySet, Set(Seq("1")))
      case other => fail(other.toString)
    }
    assertEquals(shown(table), Map("1" -> "b"))
  }

  test("an append that carries what moved under the lock decides anew when that lock is lost") {
    val table = create()
    overwrite(table, "1" -> "a")
    val write = begin(table, WriteOptions(append = true))
    val stale = writeFile(write.table, Seq("1"), write.batchId, "a+").copy(base = write.current.get(Seq("1")))
    overwrite(table, "1" -> "b")
    var carried = Seq.empty[Option[BatchId]]
    def carry(now: Map[Seq[String], Option[Shown]]): Seq[Written] = {
      carried :+= now(Seq("1")).flatMap(_.batchId)
      if (carried.size == 1) {
        // Another takes the lock from us, who seem dead, and is done before we go on.
        val locks = LocalLake.metastore.showLocks(new ShowLocksRequest).getLocks.asScala
        locks
          .filter(_.getTablename.equalsIgnoreCase(TableLock.pseudoTable(table.id)))
          .foreach(lock => LocalLake.metastore.unlock(lock.getLockid))
        overwrite(table, "1" -> "c")
      }
      Seq(writeFile(write.table, Seq("1"), write.claimAnother(), "+").copy(base = now(Seq("1"))))
    }
    assertEquals(write.publish(Seq(stale), carry _), Outcome.Published(Some(5), 1))
    assertEquals(carried.distinct.size, 2)
    assertEquals(shown(table), Map("1" -> "+"))
    assertReplay(table)
  }

  test("an append whose base got columns meanwhile is refused: it would lose their values") {
    val table = create()
    overwrite(table, "1" -> "a")
    val write = begin(table, WriteOptions(append = true))
    val w = writeFile(write.table, Seq("1"), write.batchId, "a+").copy(base = write.current.get(Seq("1")))
    val hive = LocalLake.metastore.getTable(table.database, table.name)
    hive.getSd.addToCols(Publisher.fieldSchema(Column("more", "string")))
    LocalLake.metastore.alter_table(table.database, table.name, hive)
    overwrite(table, "1" -> "b")
    assertEquals(intercept[SfBatchException](write.publish(Seq(w))).code, "SFBATCH_COLUMN_MISMATCH")
    assertEquals(shown(table), Map("1" -> "b"))
    assertReplay(table)
  }

  test("a write of a table whose format is another by now is refused") {
    val table = create()
    val write = begin(table)
    val w = writeFile(write.table, Seq("1"), write.batchId, "a")
    val hive = LocalLake.metastore.getTable(table.database, table.name)
    hive.getSd.getSerdeInfo.setSerializationLib(Format.Orc.storage.serde)
    LocalLake.metastore.alter_table(table.database, table.name, hive)
    assertEquals(intercept[SfBatchException](write.publish(Seq(w))).code, "SFBATCH_TABLE_ID_MISMATCH")
    assertEquals(shown(table), Map.empty[String, String])
  }

  test("a commit that fails after the name was taken is the commit; one that cannot be told is said so") {
    val table = create()
    val files = journal(table)
    def entry = Recovery.draft(table, warehouse.caller, "write", files.snapshot(files.tail().newest))
    def failing(failure: java.io.IOException, creates: Boolean = true, reads: Boolean = true) = new Store {
      def createExclusive(path: Path, bytes: Array[Byte]): Boolean = Store.guarded("the test") {
        if (creates) files.store.createExclusive(path, bytes)
        throw failure
      }
      def read(path: Path): Option[Array[Byte]] =
        if (reads) files.store.read(path) else Store.guarded("the test")(throw new java.io.IOException("no answer"))
      def list(directory: Path) = files.store.list(directory)
      def exists(path: Path): Boolean = files.store.exists(path)
      def makeDirectory(path: Path): Unit = files.store.makeDirectory(path)
      def qualified(path: Path): Path = files.store.qualified(path)
    }
    def commit(store: Store, entry: Entry) = new Journal(table.root, table.id, store).commit(entry)
    def code(store: Store, entry: Entry) = intercept[SfBatchException](commit(store, entry)).code
    val failed = new java.io.IOException("after it was made")
    val silent = new NoAnswer("the store is silent", null)
    val second = entry
    assert(commit(failing(failed), second))
    assertEquals(code(failing(failed), second.copy(nonce = "other")), "SFBATCH_STORE_FAILED")
    intercept[CommitUnclear](commit(failing(silent, creates = false), entry))
    assert(commit(failing(silent), entry))
    intercept[CommitUnclear](commit(failing(failed, reads = false), entry))
  }

  test("a txn is published once") {
    val table = create()
    val options = WriteOptions(append = false, txn = Some(Txn("stream", 5)))
    val write = begin(table, options)
    write.publish(Seq(writeFile(write.table, Seq("1"), write.batchId, "a")))
    assertEquals(warehouse.begin(warehouse.table(table.database, table.name), options).isLeft, true)
  }

  test("rollback brings a partition back, and is undone by a rollback") {
    val table = create()
    overwrite(table, "1" -> "a")
    overwrite(table, "1" -> "b", "2" -> "new")
    val dry = warehouse.rollback(table, "2", None, dryRun = true)
    assertEquals(dry.changes.map(c => c.partition -> c.action), Seq("date=1" -> "restored", "date=2" -> "leaves"))
    assertEquals(shown(table), Map("1" -> "b", "2" -> "new"))
    warehouse.rollback(table, "2", None, dryRun = false)
    assertEquals(shown(table), Map("1" -> "a"))
    assertReplay(table)
    warehouse.rollback(table, "3", None, dryRun = false)
    assertEquals(shown(table), Map("1" -> "b", "2" -> "new"))
    assertReplay(table)
  }

  test("an unpartitioned table is switched as a whole") {
    val table = create(Nil)
    val write = begin(table)
    write.publish(Seq(writeFile(write.table, Nil, write.batchId, "a")))
    assertEquals(text(LocalLake.metastore.getTable(table.database, table.name).getSd.getLocation), "a")
    warehouse.rollback(table, "1", None, dryRun = false)
    assertEquals(text(LocalLake.metastore.getTable(table.database, table.name).getSd.getLocation), "")
    assertReplay(table)
  }

  test("the path of a location is Hadoop's") {
    val bodies = Seq("/a/b", "/a b/c=d%2Fe", "/a:/b", "/x", "/a//b", "/a/", "/", "/ä/日本", "/a:b/c#d?e")
    for (body <- bodies; start <- Seq("", "file:", "file://", "s3a://bucket", "hdfs://name:8020"))
      assertEquals(PartitionPath.ofLocation(start + body), new Path(start + body).toUri.getPath, start + body)
  }

  test("Glue is refused by name, before anything is asked of it") {
    val glue = new Configuration
    glue.set(
      "hive.metastore.client.factory.class",
      "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory"
    )
    val refused = intercept[SfBatchException](Warehouse(glue, warehouse.caller).table("default", "t"))
    assertEquals(refused.code, "SFBATCH_GLUE_UNSUPPORTED")
    assert(refused.getMessage.contains("neither locks nor atomic changes"), refused.getMessage)
  }

  test("a dead holder's lock is taken") {
    val table = create()
    val component = new org.apache.hadoop.hive.metastore.api.LockComponent(
      org.apache.hadoop.hive.metastore.api.LockType.EXCLUSIVE,
      org.apache.hadoop.hive.metastore.api.LockLevel.TABLE,
      TableLock.Database
    )
    component.setTablename(TableLock.pseudoTable(table.id))
    component.setOperationType(org.apache.hadoop.hive.metastore.api.DataOperationType.NO_TXN)
    val request = new org.apache.hadoop.hive.metastore.api.LockRequest(
      java.util.Collections.singletonList(component),
      "dead",
      "host"
    )
    request.setAgentInfo("sfbatch:nobody:200")
    LocalLake.metastore.lock(request)
    assertEquals(overwrite(table, "1" -> "a"), Outcome.Published(Some(2), 1))
  }

  test("a damaged mark of an unclear call is said with its name") {
    val table = create()
    overwrite(table, "1" -> "a")
    val mark = Paths.get(table.root.toUri.getPath, "_sfbatch/unclear", f"${System.currentTimeMillis}%013d-2-x.json")
    Files.createDirectories(mark.getParent)
    Files.write(mark, "not json".getBytes)
    val told = intercept[SfBatchException](overwrite(table, "1" -> "b"))
    assertEquals(told.code, "SFBATCH_JOURNAL_DAMAGED")
    assert(told.getMessage.contains(mark.getFileName.toString), told.getMessage)
    Files.delete(mark)
    overwrite(table, "1" -> "b")
    assertEquals(shown(table), Map("1" -> "b"))
  }

  test("an entry that is gone while its mark is there is damage, not a number to give again") {
    val table = create()
    overwrite(table, "1" -> "a")
    val lost = Paths.get(table.root.toUri.getPath, "_sfbatch/journal/00000000/000000000002.json.gz")
    val bytes = Files.readAllBytes(lost)
    Files.delete(lost)
    val told = intercept[SfBatchException](overwrite(table, "1" -> "b"))
    assertEquals(told.code, "SFBATCH_JOURNAL_DAMAGED")
    assert(told.getMessage.contains(lost.getFileName.toString), told.getMessage)
    Files.write(lost, bytes)
    overwrite(table, "1" -> "b")
    assertEquals(shown(table), Map("1" -> "b"))
  }

  test("hundreds of versions: checkpoints, blocks, and the state is the same without them") {
    assume(OnOneSpark.here, "slow; runs on Spark 3.5 only")
    val table = create()
    overwrite(table, "1" -> "a")
    val files = journal(table)
    val loaded = warehouse.table(table.database, table.name)
    (1 to 448).foreach { i =>
      val state = files.current(files.tail())
      assert(
        files.commit(
          Recovery.draft(loaded, warehouse.caller, "anchor", state).copy(anchor = Some(s"a$i"), anchorVersion = Some(2))
        )
      )
      assert(files.markShown(state.version + 1))
      Transaction.checkpoint(files, state.version + 1)
    }
    overwrite(table, "1" -> "b")
    assertReplay(table)
    assert(Files.exists(Paths.get(table.root.toUri.getPath, "_sfbatch/checkpoints/000000000400.json.gz")))
    assert(Files.exists(Paths.get(table.root.toUri.getPath, "_sfbatch/journal/00000001/000000000451.done")))
  }
}
