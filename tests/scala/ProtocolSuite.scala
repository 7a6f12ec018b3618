package sfbatch

import java.nio.file.{Files, Paths}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.metastore.api.ShowLocksRequest
import scala.jdk.CollectionConverters._

/** What a write, a rollback, a txn come to when all goes well, or when others were there first. */
class ProtocolSuite extends ByHand {
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

  test("a heartbeat that hangs does not hold up the write whose lock it keeps") {
    val deaf = new java.net.ServerSocket(0) // the system takes connections, nobody answers
    val toIt = new Configuration(conf)
    toIt.set("hive.metastore.uris", s"thrift://127.0.0.1:${deaf.getLocalPort}")
    toIt.set("hive.metastore.client.socket.timeout", "100s")
    val beats = new java.util.concurrent.CountDownLatch(1)
    def ofTheHeart() = { beats.countDown(); new Metastore(Metastore.hiveConf(toIt)) }
    val metastore = new Metastore(Metastore.hiveConf(conf))
    val caller = Caller("ada", "host1", None, None)
    val settings = TableLock.Settings(heartbeatMs = 50, timeoutMs = 60000)
    var ended = 0L
    try
      TableLock.holding(metastore, () => ofTheHeart(), remote = true, "hanging", caller, settings) {
        beats.await()
        Thread.sleep(500) // it waits for an answer by now
        ended = System.nanoTime()
      }
    finally { deaf.close(); metastore.close() }
    assert(System.nanoTime() - ended < 60L * 1000 * 1000 * 1000)
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

  test("a version that one request of the metastore cannot carry is refused before its commit") {
    val table = create()
    val wide = warehouse.table(table.database, table.name)
    val hive = LocalLake.metastore.getTable(table.database, table.name)
    val fields = (1 to 1500).map(i => f"field_$i%06d:string").mkString("struct<", ",", ">")
    hive.getSd.addToCols(Publisher.fieldSchema(Column("more", fields)))
    LocalLake.metastore.alter_table(table.database, table.name, hive)
    val write = begin(wide)
    val written = (1 to 4000).map(i => Written(Seq(i.toString), write.batchId, 0, 0, Some(0)))
    val refused = intercept[SfBatchException](write.publish(written))
    assertEquals(refused.code, "SFBATCH_TOO_MANY_PARTITIONS")
    assertEquals(journal(table).tail().newest, 1L)
    assert(write.publish(written.take(10)).isInstanceOf[Outcome.Published])
  }

  test("the path of a location is Hadoop's") {
    val bodies =
      Seq("/a/b", "/a b/c=d%2Fe", "/a:/b", "/x", "/a//b", "/a/", "/", "/ä/日本", "/a:b/c#d?e", "/a/../b", "/a/./b", "/.a")
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
