package sfbatch

import com.fasterxml.jackson.databind.JsonNode
import com.fasterxml.jackson.databind.node.ObjectNode
import java.time.Instant
import scala.collection.JavaConverters._
import sfbatch.Json._

/** Number of the protocol this code speaks; anything else must not be written to. */
object Protocol {
  val Number = 1
  def check(node: JsonNode, what: String): Unit = node.longOf("protocol") match {
    case Some(Number) => ()
    case other => unknown(other.map(_.toString).getOrElse("none"), what)
  }
  def unknown(found: String, what: String): Nothing = throw new SfBatchException(
    "SFBATCH_PROTOCOL_UNKNOWN",
    s"$what has protocol $found; this sfbatch speaks protocol $Number. Install the newest sfbatch wheel before you write to the table."
  )
}

/** What a version was before this change, for history and for abort. */
final case class Previous(batchId: Option[BatchId], version: Long)

/** One partition of a version: what it shows from then on, None when it is dropped. */
final case class PartitionChange(values: Seq[String], to: Option[Shown], previous: Option[Previous])

/** One version of a table as the journal holds it; immutable once created. */
final case class Entry(
    version: Long,
    nonce: String,
    timestamp: Instant,
    operation: String,
    caller: Caller,
    schema: Seq[Column],
    partitionColumns: Seq[Column],
    storage: Storage,
    changes: Seq[PartitionChange],
    batchId: Option[BatchId] = None,
    mode: Option[String] = None,
    txn: Option[Txn] = None,
    userMetadata: Option[String] = None,
    aborts: Option[Long] = None,
    to: Option[Long] = None,
    txnsRestored: Map[String, Option[Long]] = Map.empty,
    anchor: Option[String] = None,
    anchorVersion: Option[Long] = None,
    staged: Option[String] = None
)

object Entry {

  /** What every version of `table` says alike; number, nonce, time and operation are given when it is committed. */
  def template(table: Table, caller: Caller): Entry =
    Entry(0, "", Instant.EPOCH, "", caller, table.columns, table.partitionColumns, table.storage, Nil)

  def columnJson(c: Column): JsonNode = obj().put("name", c.name).put("type", c.dataType).maybe("comment", c.comment)
  def columnsJson(columns: Seq[Column]): JsonNode = array(columns)(columnJson)
  def columns(node: JsonNode): Seq[Column] =
    node.elements.asScala.map(c => Column(c.text("name"), c.text("type"), c.textOf("comment"))).toVector
  def storageJson(s: Storage): JsonNode = obj()
    .put("input_format", s.inputFormat)
    .put("output_format", s.outputFormat)
    .put("serde", s.serde)
    .child("serde_properties", stringMap(s.serdeProperties))
  def storage(node: JsonNode): Storage = Storage(
    node.text("input_format"),
    node.text("output_format"),
    node.text("serde"),
    node.entries("serde_properties").map { case (k, v) => k -> v.asText }
  )

  def toJson(e: Entry): ObjectNode = {
    val node = obj()
      .put("protocol", Protocol.Number)
      .put("version", e.version)
      .put("nonce", e.nonce)
      .put("timestamp", time(e.timestamp))
      .put("operation", e.operation)
      .put("user", e.caller.user)
      .put("host", e.caller.host)
      .maybe("app_id", e.caller.appId)
      .maybe("job_id", e.caller.jobId)
      .maybe("batch_id", e.batchId.map(_.value))
      .maybe("mode", e.mode)
      .child("schema", columnsJson(e.schema))
      .child("partition_columns", columnsJson(e.partitionColumns))
      .child("storage", storageJson(e.storage))
      .child("partitions", array(e.changes)(changeJson(e, _)))
      .maybe("user_metadata", e.userMetadata)
      .maybeLong("aborts", e.aborts)
      .maybeLong("to", e.to)
      .maybe("anchor", e.anchor)
      .maybeLong("anchor_version", e.anchorVersion)
      .maybe("staged", e.staged)
    e.txn.foreach(t => node.child("txn", obj().put("app_id", t.appId).put("version", t.version)))
    if (e.txnsRestored.nonEmpty) {
      val marks = obj()
      e.txnsRestored.toSeq.sortBy(_._1).foreach {
        case (app, Some(v)) => marks.put(app, v)
        case (app, None) => marks.putNull(app)
      }
      node.child("txns_restored", marks)
    }
    node
  }

  private def changeJson(e: Entry, c: PartitionChange): JsonNode = {
    val node = obj().child("values", strings(c.values))
    c.to match {
      case None => node.put("dropped", true)
      case Some(p) =>
        node.maybe("batch_id", p.batchId.map(_.value)).maybe("location", p.location)
        if (p.version != e.version) node.put("version", p.version)
        if (p.schema != e.schema) node.child("schema", columnsJson(p.schema))
        if (p.storage != e.storage) node.child("storage", storageJson(p.storage))
        node.maybeLong("rows", p.rows).maybeLong("bytes", p.bytes).maybeLong("files", p.files)
    }
    c.previous.foreach(p =>
      node.child("previous", obj().maybe("batch_id", p.batchId.map(_.value)).put("version", p.version))
    )
    node
  }

  def fromJson(node: JsonNode): Entry = {
    Protocol.check(node, "a journal entry")
    val version = node.long("version")
    val schema = columns(node.get("schema"))
    val tableStorage = storage(node.get("storage"))
    def change(c: JsonNode): PartitionChange = {
      val to =
        if (c.field("dropped").exists(_.asBoolean)) None
        else
          Some(
            Shown(
              c.textOf("batch_id").map(BatchId.parse),
              c.textOf("location"),
              c.longOf("version").getOrElse(version),
              c.field("schema").map(columns).getOrElse(schema),
              c.field("storage").map(storage).getOrElse(tableStorage),
              c.longOf("rows"),
              c.longOf("bytes"),
              c.longOf("files")
            )
          )
      PartitionChange(
        c.texts("values"),
        to,
        c.field("previous").map(p => Previous(p.textOf("batch_id").map(BatchId.parse), p.long("version")))
      )
    }
    Entry(
      version,
      node.text("nonce"),
      Instant.parse(node.text("timestamp")),
      node.text("operation"),
      Caller(node.text("user"), node.text("host"), node.textOf("app_id"), node.textOf("job_id")),
      schema,
      columns(node.get("partition_columns")),
      tableStorage,
      node.items("partitions").map(change),
      node.textOf("batch_id").map(BatchId.parse),
      node.textOf("mode"),
      node.field("txn").map(t => Txn(t.text("app_id"), t.long("version"))),
      node.textOf("user_metadata"),
      node.longOf("aborts"),
      node.longOf("to"),
      node.entries("txns_restored").map { case (app, v) => app -> (if (v.isNull) None else Some(v.asLong)) },
      node.textOf("anchor"),
      node.longOf("anchor_version"),
      node.textOf("staged")
    )
  }
}
