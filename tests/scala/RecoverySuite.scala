package sfbatch

import java.nio.file.{Files, Paths}
import org.apache.hadoop.fs.Path
import scala.jdk.CollectionConverters._

/** What others left unfinished, sent late or damaged: the next writer settles it, or says what it found. */
class RecoverySuite extends ByHand {

  /** Version 3 of the table, of partition 1, as its writer left it before it was shown. */
  private def committed(table: Table, text: String): Entry = {
    val write = begin(table)
    val w = writeFile(write.table, Seq("1"), write.batchId, text)
    val to = Shown(Some(w.batchId), None, 3, columns, write.table.storage, Some(1), Some(w.bytes), Some(1))
    val entry = Recovery
      .draft(write.table, warehouse.caller, "write", journal(table).snapshot(2))
      .copy(changes = Seq(PartitionChange(w.values, Some(to), None)), batchId = Some(write.batchId))
    assert(journal(table).commit(entry))
    entry
  }

  test("a version committed but not shown is finished by the next writer") {
    val table = create()
    overwrite(table, "1" -> "a")
    committed(table, "b")
    overwrite(table, "2" -> "c")
    assertEquals(shown(table), Map("1" -> "b", "2" -> "c"))
    assertReplay(table)
  }

  test("a rollback to a version that is refused while it waits is refused") {
    val table = create()
    overwrite(table, "1" -> "a")
    committed(table, "b")
    assert(journal(table).markRefused(3))
    val told = intercept[SfBatchException](warehouse.rollback(table, "3", None, dryRun = false))
    assertEquals(told.code, "SFBATCH_UNKNOWN_VERSION")
    assertEquals(shown(table), Map("1" -> "a"))
    assertReplay(table)
  }

  test("an unclear mark counts for an hour of versions, however far ahead the clock of one writer is") {
    val table = create()
    overwrite(table, "1" -> "a")
    val (files, ahead) = (journal(table), java.time.Instant.now.plusSeconds(7200))
    val anchor =
      Recovery.draft(warehouse.table(table.database, table.name), warehouse.caller, "anchor", files.snapshot(2))
    assert(files.commit(anchor.copy(timestamp = ahead, anchor = Some("x"), anchorVersion = Some(2))))
    files.markUnclear(2, Seq(Seq("1")))
    assertEquals(files.unclear(files.snapshot(3)).map(_.toList), Set(List("1")))
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
}
