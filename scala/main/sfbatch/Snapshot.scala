package sfbatch

import com.fasterxml.jackson.databind.JsonNode
import com.fasterxml.jackson.databind.node.ObjectNode
import java.time.Instant
import sfbatch.Json._

/** What one partition shows: a batch of ours, or a location others chose. */
final case class Shown(
    batchId: Option[BatchId],
    location: Option[String],
    version: Long,
    schema: Seq[Column],
    storage: Storage,
    rows: Option[Long],
    bytes: Option[Long],
    files: Option[Long]
) {
  def sameData(other: Shown): Boolean =
    batchId == other.batchId && location == other.location && schema == other.schema && storage == other.storage
}

/** The state of a table after one version. Pure: `replay` is the protocol's one definition of what a journal means. */
final case class Snapshot(
    version: Long,
    timestamp: Instant,
    partitions: Map[Seq[String], Shown],
    txns: Map[String, Long],
    anchors: Map[String, Long],
    staged: Map[String, Map[Seq[String], Shown]],
    dropped: Map[Seq[String], Long],
    recent: Map[Long, Instant]
) {

  def replay(entry: Entry): Snapshot = {
    require(entry.version == version + 1, s"version ${entry.version} does not follow $version")
    val next = aged(entry).copy(version = entry.version, timestamp = entry.timestamp)
    val shown = entry.operation match {
      case "stage" =>
        val batch = entry.changes.flatMap(c => c.to.map(c.values -> _)).toMap
        next.copy(staged = staged ++ entry.staged.map(_ -> batch))
      case "publish" | "discard" =>
        entry.changes.foldLeft(next.copy(staged = staged -- entry.staged))(Snapshot.change(entry))
      case _ => entry.changes.foldLeft(next)(Snapshot.change(entry))
    }
    val marked = shown.copy(
      txns = entry.txnsRestored.foldLeft(txns ++ entry.txn.map(t => t.appId -> t.version)) {
        case (marks, (app, Some(v))) => marks + (app -> v)
        case (marks, (app, None)) => marks - app
      }
    )
    (entry.operation, entry.anchor) match {
      case ("anchor", Some(name)) => marked.copy(anchors = anchors + (name -> entry.anchorVersion.getOrElse(version)))
      case ("drop_anchor", Some(name)) => marked.copy(anchors = anchors - name)
      case _ => marked
    }
  }

  /** What is forgotten after an hour (docs/adr/0107). An abort is journalled before anything was compared: for it no
    * time has passed. A drop may be sent as late as the version after it is journalled: it ages with that one.
    */
  private def aged(entry: Entry): Snapshot =
    if (entry.operation == "abort") this
    else {
      val horizon = entry.timestamp.minusSeconds(Snapshot.RecentSeconds)
      val (kept, forgotten) = recent.partition(_._2.isAfter(horizon))
      copy(
        recent = kept + (entry.version -> entry.timestamp),
        dropped = dropped.filterNot { case (_, v) => forgotten.keys.exists(_ > v) }
      )
    }

  /** The hour that counts ends with the newest version that is no abort: its writer compared what was unclear. */
  def hourEnds: Instant = recent.values.foldLeft(Instant.EPOCH)((a, b) => if (b.isAfter(a)) b else a)

  /** Partitions whose calls may still be under way: those of the last hour's versions. */
  def touchedRecently: Set[Seq[String]] =
    partitions.collect { case (values, shown) if recent.contains(shown.version) => values }.toSet ++ dropped.keySet
}

object Snapshot {
  val RecentSeconds: Long = 3600
  val empty: Snapshot = Snapshot(0, Instant.EPOCH, Map.empty, Map.empty, Map.empty, Map.empty, Map.empty, Map.empty)

  private def change(entry: Entry)(state: Snapshot, c: PartitionChange): Snapshot = c.to match {
    case Some(shown) => state.copy(partitions = state.partitions + (c.values -> shown))
    case None =>
      // Only these send drops, which may land late; an abort or others' drop does not.
      val ours = Set("rollback", "drop_partition", "repair").contains(entry.operation)
      val noted = if (ours) state.dropped + (c.values -> entry.version) else state.dropped
      state.copy(partitions = state.partitions - c.values, dropped = noted)
  }

  def toJson(s: Snapshot): ObjectNode = {
    def sorted(m: Map[Seq[String], Shown]) = m.toSeq.sortBy(_._1.mkString("\u0000"))
    // In the order of first use: the same state is the same checkpoint, whoever writes it.
    val all = (sorted(s.partitions) ++ s.staged.toSeq.sortBy(_._1).flatMap { case (_, m) => sorted(m) }).map(_._2)
    val schemas = all.map(_.schema).distinct
    val storages = all.map(_.storage).distinct
    val schemaIndex = schemas.zipWithIndex.toMap
    val storageIndex = storages.zipWithIndex.toMap
    def shownJson(values: Seq[String], p: Shown): JsonNode = {
      val node =
        obj().child("values", strings(values)).maybe("batch_id", p.batchId.map(_.value)).maybe("location", p.location)
      node.put("version", p.version).put("schema", schemaIndex(p.schema)).put("storage", storageIndex(p.storage))
      node.maybeLong("rows", p.rows).maybeLong("bytes", p.bytes).maybeLong("files", p.files)
    }
    val txns = obj()
    s.txns.toSeq.sorted.foreach { case (app, v) => txns.put(app, v) }
    val anchors = obj()
    s.anchors.toSeq.sorted.foreach { case (name, v) => anchors.put(name, v) }
    val staged = obj()
    s.staged.toSeq.sortBy(_._1).foreach { case (id, m) =>
      staged.child(id, array(sorted(m)) { case (v, p) => shownJson(v, p) })
    }
    val recent = obj()
    s.recent.toSeq.sortBy(_._1).foreach { case (v, t) => recent.put(v.toString, time(t)) }
    obj()
      .put("protocol", Protocol.Number)
      .put("version", s.version)
      .put("timestamp", time(s.timestamp))
      .child("schemas", array(schemas)(Entry.columnsJson))
      .child("storages", array(storages)(Entry.storageJson))
      .child("partitions", array(sorted(s.partitions)) { case (v, p) => shownJson(v, p) })
      .child("txns", txns)
      .child("anchors", anchors)
      .child("staged", staged)
      .child(
        "dropped",
        array(s.dropped.toSeq.sortBy(_._1.mkString("\u0000"))) { case (v, n) =>
          obj().child("values", strings(v)).put("version", n)
        }
      )
      .child("recent", recent)
  }

  def fromJson(node: JsonNode): Snapshot = {
    Protocol.check(node, "a checkpoint")
    val schemas = node.items("schemas").map(Entry.columns)
    val storages = node.items("storages").map(Entry.storage)
    def shown(p: JsonNode): (Seq[String], Shown) =
      p.texts("values") -> Shown(
        p.textOf("batch_id").map(BatchId.parse),
        p.textOf("location"),
        p.long("version"),
        schemas(p.long("schema").toInt),
        storages(p.long("storage").toInt),
        p.longOf("rows"),
        p.longOf("bytes"),
        p.longOf("files")
      )
    Snapshot(
      node.long("version"),
      Instant.parse(node.text("timestamp")),
      node.items("partitions").map(shown).toMap,
      node.entries("txns").map { case (k, v) => k -> v.asLong },
      node.entries("anchors").map { case (k, v) => k -> v.asLong },
      node.entries("staged").map { case (k, _) => k -> node.get("staged").items(k).map(shown).toMap },
      node.items("dropped").map(d => d.texts("values") -> d.long("version")).toMap,
      node.entries("recent").map { case (k, v) => k.toLong -> Instant.parse(v.asText) }
    )
  }
}
