package sfbatch

import java.time.Instant
import org.apache.hadoop.fs.Path
import scala.collection.mutable

/** The table as journal and metastore agree on it, at one moment under the lock. */
final case class Settled(snapshot: Snapshot, observed: Map[Seq[String], Observed])

/** Steps 6 and 7: what earlier writers began is finished, what came late is put right, what others did is recorded.
  *
  * May die anywhere and be run again by anyone; must never publish a location that is not the table's own.
  */
final class Recovery(table: Table, journal: Journal, publisher: Publisher, caller: Caller) {
  private val finished = mutable.ArrayBuffer.empty[Long]
  private val aborted = mutable.ArrayBuffer.empty[Long]
  private val reasserted = mutable.LinkedHashSet.empty[String]
  def result: RecoverResult = RecoverResult(finished.toSeq, aborted.toSeq, reasserted.toSeq)

  /** @param touch partitions about to be changed, given the state; others' changes to them are recorded
    * @param thorough also compares every partition touched in the last hour
    */
  def settle(touch: Snapshot => Set[Seq[String]], thorough: Boolean = false): Settled = {
    val tail = journal.tail()
    val snapshot = journal.snapshot(tail.newest)
    if (finishUnfinished(tail)) settle(touch, thorough)
    else {
      val unclear = journal.unclear()
      val touched = touch(snapshot)
      val compared = touched ++ unclear ++ (if (thorough) snapshot.touchedRecently else Set.empty)
      val observed = publisher.observe(compared)
      val differing = compared.toSeq.filterNot(v => publisher.agrees(v, snapshot.partitions.get(v), observed.get(v)))
      val (late, foreign) = differing.partition(v => isLate(v, snapshot, observed.get(v), unclear(v)))
      val others = foreign.filter(v => touched(v) || thorough)
      if (late.nonEmpty) {
        Step("reassert", tail.newest)
        journal.markUnclear(tail.newest, late)
        rights(tail.newest)(publisher.show(late.map(v => v -> snapshot.partitions.get(v)).toMap, Some(observed), () => ()))
        reasserted ++= late.map(PartitionPath.name(table.partitionColumns.map(_.name), _))
        settle(touch, thorough)
      } else if (others.nonEmpty) {
        recordExternal(snapshot, others, observed)
        settle(touch, thorough)
      } else Settled(snapshot, observed)
    }
  }

  /** Only our own calls leave a version of ours that is not the journal's; whoever else changes a partition keeps its parameters or drops them. */
  private def isLate(values: Seq[String], snapshot: Snapshot, observed: Option[Observed], unclear: Boolean): Boolean =
    (snapshot.partitions.get(values), observed) match {
      case (Some(_), None) => unclear && snapshot.dropped.contains(values)
      case (Some(s), Some(o)) =>
        publisher.isPlaceholder(o) || (s.batchId.isDefined || unclear) && o.version.exists(v => v != s.version && v <= snapshot.version)
      case (None, Some(o)) => publisher.isPlaceholder(o) || snapshot.dropped.contains(values) && o.version.exists(_ <= snapshot.version)
      case (None, None) => false
    }

  private def recordExternal(snapshot: Snapshot, values: Seq[Seq[String]], observed: Map[Seq[String], Observed]): Unit = {
    val version = snapshot.version + 1
    val changes = values.map { v =>
      val to = observed.get(v).map { o =>
        val (schema, storage) = o.partition match {
          case Some(p) => (Catalog.columns(p.getSd.getCols), Catalog.storage(p.getSd))
          case None => (table.columns, table.storage)
        }
        Shown(None, Some(o.location.toString), version, schema, storage, None, None, None)
      }
      PartitionChange(v, to, snapshot.partitions.get(v).map(s => Previous(s.batchId, s.version)))
    }
    if (journal.commit(draft("external", snapshot).copy(changes = changes))) journal.markDone(version)
  }

  def draft(operation: String, snapshot: Snapshot): Entry = Recovery.draft(table, caller, operation, snapshot)

  /** True when something was done, so that the journal must be listed again. */
  private def finishUnfinished(tail: Tail): Boolean = {
    val open = (tail.listedFrom to tail.newest).filterNot(tail.finished)
    if (open.isEmpty) false
    else {
      val later = (open.head to tail.newest).flatMap(journal.entry)
      val closed = later.flatMap(_.aborts).toSet
      val todo = later.filter(e => open.contains(e.version) && !closed(e.version))
      todo.foreach(finish(_, tail.newest))
      todo.nonEmpty
    }
  }

  private def finish(entry: Entry, newest: Long): Unit = {
    val snapshot = journal.snapshot(newest)
    val targets = entry.changes.map(c => c.values -> snapshot.partitions.get(c.values)).toMap
    val strangers = targets.collect { case (v, Some(s)) if !trusted(v, s) => s"${publisher.locationOf(v, s)}" }
    if (strangers.nonEmpty) {
      Recovery.log.warn(s"version ${entry.version} of $table shows ${strangers.head}, which is not a batch of this table: closing it by an abort.")
      abort(entry)
    } else
      try {
        // Its writer may still be about: what it sends may come late.
        Step("recover", entry.version)
        if (targets.nonEmpty) journal.markUnclear(entry.version, targets.keys)
        Step("recover-marked", entry.version)
        if (Recovery.showsPartitions(entry)) publisher.show(targets, None, () => ())
        Step("recover-published", entry.version)
        journal.markDone(entry.version)
        Step("recover-done", entry.version)
        finished += entry.version
      } catch {
        case _: Refused => abort(entry)
        case e: Denied => throw recoveryNeeded(entry.version, entry.caller.user, e)
      }
  }

  /** Closes a version the metastore refuses for good: its partitions show again what they showed before.
    *
    * @throws SfBatchException SFBATCH_PUBLISH_REFUSED when even that is refused
    */
  def abort(entry: Entry): Unit = {
    val before = journal.snapshot(entry.version - 1)
    val changes = entry.changes.map(c => PartitionChange(c.values, before.partitions.get(c.values), c.to.map(s => Previous(s.batchId, entry.version))))
    val closing = draft("abort", journal.snapshot(entry.version)).copy(
      changes = changes,
      aborts = Some(entry.version),
      txnsRestored = entry.txn.map(t => t.appId -> before.txns.get(t.appId)).toMap
    )
    if (journal.commit(closing)) {
      Step("aborting", entry.version)
      val targets = changes.map(c => c.values -> c.to).toMap
      if (targets.nonEmpty) journal.markUnclear(closing.version, targets.keys)
      try publisher.show(targets, None, () => ())
      catch {
        case e: Refused =>
          throw new SfBatchException("SFBATCH_PUBLISH_REFUSED", s"the metastore refuses version ${entry.version} of $table and what was there before: ${e.getMessage}.", e)
        case e: Denied => throw recoveryNeeded(closing.version, caller.user, e)
      }
      journal.markDone(closing.version)
      aborted += entry.version
    }
  }

  /** `<root>/<partition>/<14 digits>` with a claim, or an adopted place under the root: a forged journal must not move a partition elsewhere. */
  private def trusted(values: Seq[String], shown: Shown): Boolean = shown.batchId match {
    case Some(id) => shown.location.isEmpty && journal.isClaimed(id)
    case None =>
      val location = publisher.locationOf(values, shown)
      val root = journal.store.qualified(table.root)
      Iterator.iterate(location)(_.getParent).takeWhile(_ != null).contains(root) || location == Catalog.adoptedLocation(root)
  }

  private def rights[T](version: Long)(body: => T): T =
    try body
    catch {
      case e: Denied => throw recoveryNeeded(version, journal.entry(version).map(_.caller.user).getOrElse("unknown"), e)
      case e: Refused =>
        throw new SfBatchException("SFBATCH_PUBLISH_REFUSED", s"the metastore refuses to show again what the journal of $table says: ${e.getMessage}.", e)
    }

  private def recoveryNeeded(version: Long, owner: String, cause: Throwable) = new SfBatchException(
    "SFBATCH_RECOVERY_NEEDED",
    s"version $version of $table, written by $owner, is committed but not shown, and ${caller.user} has no right to finish it (${cause.getMessage}). " +
      s"Let $owner or an operator run: CALL sfbatch.recover(table => '$table').",
    cause
  )
}

object Recovery {
  private val log = org.slf4j.LoggerFactory.getLogger("sfbatch.Recovery")

  /** The version after `snapshot`. */
  def draft(table: Table, caller: Caller, operation: String, snapshot: Snapshot): Entry = Entry
    .template(table, caller)
    .copy(
      version = snapshot.version + 1,
      nonce = java.util.UUID.randomUUID().toString,
      timestamp = Seq(Instant.ofEpochMilli(System.currentTimeMillis()), snapshot.timestamp.plusMillis(1)).max,
      operation = operation
    )

  /** Operations whose partitions the metastore is made to show; the others record what is so already, or nothing. */
  def showsPartitions(entry: Entry): Boolean = !Set("adopt", "external", "anchor", "drop_anchor", "stage", "discard").contains(entry.operation)
}
