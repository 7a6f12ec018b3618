package sfbatch

import java.time.Instant
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import sfbatch.Json._

/** One version as the vectors hold it: `unknown` are fields no implementation knows; `refused` is what its `.done`
  * says.
  */
final case class Told(entry: Entry, refused: Boolean = false, unknown: Boolean = false)

/** The journals of tests/golden: every operation of PROTOCOL.md, with fixed times and nonces, so that they can be
  * written again.
  */
final case class GoldenJournal(
    name: String,
    owner: Owner,
    claims: Seq[BatchId],
    told: Seq[Told],
    checkpoints: Set[Long]
) {

  /** Writes `<directory>/_sfbatch`. */
  def write(directory: Path, conf: Configuration): Unit = {
    val store = Store.of(directory, conf)
    val journal = new Journal(directory, owner.tableId, store)
    val caller = Caller("ada", "host1", None, None)
    assert(journal.own(owner, caller))
    claims.foreach { id =>
      val claim = obj()
        .put("protocol", 1)
        .put("batch_id", id.value)
        .put("nonce", GoldenJournals.nonce(id.value.toLong))
        .put("user", "ada")
        .put("host", "host1")
      store.createExclusive(
        new Path(directory, s"_sfbatch/claims/$id.json"),
        bytes(claim.put("app_id", "app-1").put("started_at", "2026-11-21T10:00:00.000Z"))
      )
    }
    var state = Snapshot.empty
    told.foreach { case Told(entry, refused, unknown) =>
      if (unknown) {
        val node = Entry.toJson(entry)
        node.put("x_note", "a field of a later release").child("x_more", obj().put("a", 1))
        node
          .get("partitions")
          .elements
          .forEachRemaining(_.asInstanceOf[com.fasterxml.jackson.databind.node.ObjectNode].put("x_sum", "5d41402a"))
        assert(
          store.createExclusive(
            new Path(directory, f"_sfbatch/journal/00000000/${entry.version}%012d.json.gz"),
            gzip(node)
          )
        )
      } else assert(journal.commit(entry))
      assert(if (refused) journal.markRefused(entry.version) else journal.markShown(entry.version))
      state = state.replay(entry)
      if (checkpoints(entry.version)) journal.writeCheckpoint(state)
    }
  }

  /** The state after each version. */
  def states: Seq[Snapshot] = told.map(_.entry).scanLeft(Snapshot.empty)(_ replay _).tail
}

object GoldenJournals {
  def nonce(n: Long): String = new java.util.UUID(0, n).toString

  private val start = Instant.parse("2026-11-21T10:00:00.000Z")
  private val ada = Caller("ada", "host1", Some("app-1"), None)
  private val bob = Caller("bob", "host2", None, Some("job-7"))
  private val narrow = Seq(Column("id", "bigint"), Column("item", "string"))
  private val wide = narrow :+ Column("price", "decimal(10,2)", Some("EUR, \"net\""))
  private val parquet = Format.Parquet.storage.copy(serdeProperties = Map("serialization.format" -> "1"))
  private val text =
    Format.Text.storage.copy(serdeProperties = Map("field.delim" -> "\u0001", "serialization.format" -> "1"))
  private val partitioning = Seq(Column("date", "string"), Column("place", "string"))

  private def batch(n: Int) = BatchId.parse(f"202611211000$n%02d")
  private def of(n: Int, rows: Long = 3, schema: Seq[Column] = narrow, storage: Storage = parquet, version: Long = 0) =
    Shown(Some(batch(n)), None, version, schema, storage, Some(rows), Some(rows * 100), Some(1))
  private def left(location: String, version: Long, storage: Storage = parquet) =
    Shown(None, Some(location), version, narrow, storage, None, None, None)

  /** Versions from 1, a minute apart; `at` says otherwise, in minutes. A partition without a version of its own gets
    * the entry's.
    */
  private final class Writer(partitionColumns: Seq[Column]) {
    val told = scala.collection.mutable.ArrayBuffer.empty[Told]
    private var minutes = 0L
    def apply(
        operation: String,
        caller: Caller = ada,
        schema: Seq[Column] = narrow,
        refused: Boolean = false,
        unknown: Boolean = false,
        at: Option[Long] = None
    )(
        changes: (Seq[String], Option[Shown], Option[Previous])*
    )(more: Entry => Entry = identity): Unit = {
      val version = told.size + 1L
      minutes = at.getOrElse(minutes + 1)
      val own = changes.map { case (v, to, previous) =>
        PartitionChange(v, to.map(s => if (s.version == 0) s.copy(version = version) else s), previous)
      }
      val entry = Entry(
        version,
        nonce(version),
        start.plusSeconds(60 * minutes).plusMillis(version),
        operation,
        caller,
        schema,
        partitionColumns,
        parquet,
        own
      )
      told += Told(more(entry), refused, unknown)
    }
  }

  private def was(n: Int, version: Long) = Some(Previous(Some(batch(n)), version))
  private def wasElsewhere(version: Long) = Some(Previous(None, version))

  /** A partitioned table from CREATE TABLE on. */
  def created: GoldenJournal = {
    val slash = Seq("2016-10-01", "a/b")
    val none = Seq("2016-10-02", PartitionPath.Default)
    val unicode = Seq("2016-10-03", "Zürich 日本")
    val fourth = Seq("2016-10-04", "_sfbatch")
    val fifth = Seq("2016-10-05", "..")
    val w = new Writer(partitioning)
    def batchOf(n: Int, mode: String)(e: Entry) = e.copy(batchId = Some(batch(n)), mode = Some(mode))
    w("create")()()
    w("write")((slash, Some(of(1)), None), (none, Some(of(1)), None), (unicode, Some(of(1, 0)), None))(
      batchOf(1, "overwrite")(_)
        .copy(txn = Some(Txn("loader", 1)), userMetadata = Some("first load, \u201cas is\u201d"))
    )
    w("write", bob, unknown = true)((slash, Some(of(2, 5)), was(1, 2)))(batchOf(2, "append"))
    w("anchor")()(_.copy(anchor = Some("month end"), anchorVersion = Some(3)))
    w("stage")((slash, Some(of(3, 8)), was(2, 3)), (fourth, Some(of(3)), None))(
      _.copy(batchId = Some(batch(3)), staged = Some(batch(3).value))
    )
    w("stage", bob)((none, Some(of(4)), was(1, 2)))(_.copy(batchId = Some(batch(4)), staged = Some(batch(4).value)))
    w("publish")((slash, Some(of(3, 8)), was(2, 3)), (fourth, Some(of(3)), None))(_.copy(staged = Some(batch(3).value)))
    w("discard", bob)()(_.copy(staged = Some(batch(4).value)))
    w("write", schema = wide)((none, Some(of(5, 4, wide)), was(1, 2)))(batchOf(5, "overwrite"))
    w("rollback", schema = wide)(
      (slash, Some(of(1)), was(3, 7)),
      (none, Some(of(1)), was(5, 9)),
      (fourth, None, was(3, 7))
    )(_.copy(to = Some(2)))
    w("external", schema = wide)(
      (unicode, None, was(1, 2)),
      (slash, Some(left("file:/golden/created/moved by hand", 0, text)), was(1, 10))
    )()
    w("write", bob, wide, refused = true)(
      (slash, Some(of(6, 9, wide)), wasElsewhere(11)),
      (fifth, Some(of(6, 1, wide)), None)
    )(batchOf(6, "append")(_).copy(txn = Some(Txn("loader", 2))))
    w("abort", schema = wide)(
      (slash, Some(left("file:/golden/created/moved by hand", 11, text)), was(6, 12)),
      (fifth, None, was(6, 12))
    )(_.copy(aborts = Some(12), txnsRestored = Map("loader" -> Some(1L))))
    w("write", bob, wide, refused = true)(
      (none, Some(of(7, 2, wide)), was(1, 10)),
      (fifth, Some(of(7, 2, wide)), None)
    )(batchOf(7, "overwrite")(_).copy(txn = Some(Txn("stream", 41))))
    w("abort", bob, wide, refused = true)((none, Some(of(1, version = 10)), was(7, 14)), (fifth, None, was(7, 14)))(
      _.copy(aborts = Some(14), txnsRestored = Map("stream" -> None))
    )
    w("abort", schema = wide)((none, None, was(1, 15)), (fifth, None, None))(
      _.copy(aborts = Some(15), txnsRestored = Map("stream" -> None))
    )
    w("write", schema = wide)((unicode, Some(of(8, 6, wide)), None), (fourth, Some(of(8, 1, wide)), None))(
      batchOf(8, "overwrite")(_).copy(txn = Some(Txn("stream", 41)))
    )
    w("drop_partition", schema = wide)((unicode, None, was(8, 17)))()
    w("write", schema = wide)((unicode, Some(of(9, 7, wide)), None))(batchOf(9, "overwrite"))
    w("repair", bob, wide)((unicode, Some(of(8, 6, wide)), was(9, 19)), (fourth, None, was(8, 17)))()
    w("drop_anchor", schema = wide)()(_.copy(anchor = Some("month end")))
    w("write", schema = wide, at = Some(79))((fourth, Some(of(10, 1, wide)), None))(batchOf(10, "overwrite"))
    w("write", schema = wide, at = Some(200))((fifth, Some(of(11, 1, wide)), None))(batchOf(11, "append"))
    GoldenJournal("created", owner("created"), (1 to 11).map(batch), w.told.toSeq, Set(5L, 17L))
  }

  /** A Hive table taken over with two partitions, one of them text and outside the root. */
  def adopted: GoldenJournal = {
    val w = new Writer(Seq(Column("year", "int")))
    val old = left("file:/golden/adopted/year=2015", 0)
    val far = left("file:/elsewhere/2016", 0, text).copy(bytes = Some(77), files = Some(2))
    w("adopt")((Seq("2015"), Some(old), None), (Seq("2016"), Some(far), None))()
    w("write")((Seq("2016"), Some(of(1)), wasElsewhere(1)))(_.copy(batchId = Some(batch(1)), mode = Some("overwrite")))
    w("rollback")((Seq("2016"), Some(far), was(1, 2)))(_.copy(to = Some(1)))
    GoldenJournal("adopted", owner("adopted"), Seq(batch(1)), w.told.toSeq, Set.empty)
  }

  /** A table without partitions: its one partition has the values `[]`. */
  def unpartitioned: GoldenJournal = {
    val w = new Writer(Nil)
    val all = Seq.empty[String]
    w("create")((all, Some(of(0, 0).copy(files = Some(0))), None))(_.copy(batchId = Some(batch(0))))
    w("write")((all, Some(of(1)), was(0, 1)))(_.copy(batchId = Some(batch(1)), mode = Some("append")))
    w("write", bob, wide, refused = true)((all, Some(of(2, 9, wide)), was(1, 2)))(
      _.copy(batchId = Some(batch(2)), mode = Some("overwrite"))
    )
    w("abort", schema = wide)((all, Some(of(1, version = 2)), was(2, 3)))(_.copy(aborts = Some(3)))
    w("rollback", schema = wide)((all, Some(of(0, 0).copy(files = Some(0))), was(1, 2)))(_.copy(to = Some(1)))
    GoldenJournal("unpartitioned", owner("unpartitioned"), (0 to 2).map(batch), w.told.toSeq, Set(3L))
  }

  private def owner(name: String) = Owner(nonce(name.length.toLong << 32), "golden", name, nonce(name.length.toLong))

  val all: Seq[GoldenJournal] = Seq(created, adopted, unpartitioned)
}
