package sfbatch

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path

/** Who writes: recorded in claims, journal and history. */
final case class Caller(user: String, host: String, appId: Option[String], jobId: Option[String])

final case class TableSpec(
    database: String,
    name: String,
    format: Format,
    storage: Storage, // format.storage, or with serde properties (delimiters)
    style: PartitionStyle,
    columns: Seq[Column],
    partitionColumns: Seq[Column],
    location: Option[Path],
    comment: Option[String],
    properties: Map[String, String]
)

final case class Txn(appId: String, version: Long)

final case class WriteOptions(
    append: Boolean,
    expectedBatchId: Option[BatchId] = None,
    txn: Option[Txn] = None,
    userMetadata: Option[String] = None
)

/** What the tasks of one write committed for one partition. `base` (appends): what was copied forward. */
final case class Written(
    values: Seq[String],
    batchId: BatchId,
    files: Long,
    bytes: Long,
    rows: Option[Long],
    base: Option[Shown] = None
)

sealed trait Outcome
object Outcome {

  /** `version` is None when nothing had to change. */
  final case class Published(version: Option[Long], partitions: Int) extends Outcome

  /** An append's base moved: copy `now` and the own new files of these partitions into another batch and publish again.
    */
  final case class BaseMoved(now: Map[Seq[String], Option[Shown]]) extends Outcome

  /** The txn was published before. */
  final case class AlreadyPublished(txn: Txn) extends Outcome
}

/** One write from claim to publish. Steps 1-2 are done when it exists; the caller writes the files, then calls
  * `publish`.
  */
trait Write {
  def table: Table
  def options: WriteOptions
  def batchId: BatchId

  /** The journal's state at the claim: values -> what is shown. */
  def current: Map[Seq[String], Shown]

  /** Step 2 again: a second batch for a conflicting append. */
  def claimAnother(): BatchId

  /** Steps 4-10. Call again with what moved when it answers BaseMoved. */
  def publish(written: Seq[Written]): Outcome

  /** The same; what has moved now is carried into another batch by `carry` under the lock, where nobody comes between:
    * for an append that was passed once (docs/adr/0022).
    */
  def publish(written: Seq[Written], carry: Map[Seq[String], Option[Shown]] => Seq[Written]): Outcome
}

final case class HistoryRow(
    version: Long,
    timestamp: java.time.Instant,
    user: String,
    operation: String,
    partition: Option[String],
    batchId: Option[String],
    previousBatchId: Option[String],
    isCurrent: Option[Boolean],
    location: Option[String],
    rows: Option[Long],
    bytes: Option[Long],
    files: Option[Long],
    appId: Option[String],
    jobId: Option[String],
    userMetadata: Option[String]
)

/** One partition a rollback changes (or would): batch IDs, None = absent or not a batch of ours. */
final case class Change(partition: String, from: Option[String], to: Option[String], action: String)
final case class RollbackResult(version: Option[Long], restored: Long, changes: Seq[Change], undo: Option[String])
final case class RecoverResult(finished: Seq[Long], aborted: Seq[Long], reasserted: Seq[String])

/** Everything one driver needs to change tables. Errors are SfBatchException. Thread-safe. */
trait Warehouse {
  def conf: Configuration
  def caller: Caller

  /** @throws SfBatchException
    *   SFBATCH_UNKNOWN_TABLE, SFBATCH_NOT_OURS (names adopt), SFBATCH_PROTOCOL_UNKNOWN, SFBATCH_TABLE_ID_MISMATCH
    */
  def table(database: String, name: String): Table
  def create(spec: TableSpec): Table

  /** Ready to write, or AlreadyPublished. `values`: partitions known beforehand, to refuse early. */
  def begin(table: Table, options: WriteOptions): Either[Outcome.AlreadyPublished, Write]

  /** Those of the journal's newest version, which the metastore may not show for the moment. */
  def partitions(table: Table): Set[Seq[String]]

  /** None when the table has none of them. */
  def dropPartitions(table: Table, partitions: Seq[Seq[String]]): Option[Long]
  def history(table: Table, partition: Option[Map[String, String]], limit: Int): Seq[HistoryRow]
  def rollback(table: Table, to: String, partition: Option[Map[String, String]], dryRun: Boolean): RollbackResult
  def recover(table: Table): RecoverResult

  /** An existing Hive table becomes ours, in place. */
  def adopt(database: String, name: String): Table

  /** Runs `body` with the table's lock held (ALTER TABLE ADD COLUMNS). */
  def locked[T](table: Table)(body: => T): T
}

object Warehouse {
  def apply(conf: Configuration, caller: Caller): Warehouse = new HiveWarehouse(conf, caller)
}
