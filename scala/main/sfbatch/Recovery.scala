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

  /** @param touch
    *   partitions about to be changed, given the state; others' changes to them are recorded
    * @param thorough
    *   also compares every partition touched in the last hour
    */
  def settle(touch: Snapshot => Set[Seq[String]], thorough: Boolean = false): Settled = {
    val tail = journal.tail()
    val snapshot = journal.current(tail)
    if (finishUnfinished(tail)) settle(touch, thorough)
    else {
      val unclear = journal.unclear(snapshot)
      val touched = touch(snapshot)
      val compared = touched ++ unclear ++ (if (thorough) snapshot.touchedRecently else Set.empty)
      val observed = publisher.observe(compared)
      val differing = compared.toSeq.filterNot(v => publisher.agrees(v, snapshot.partitions.get(v), observed.get(v)))
      val overtaken =
        differing.exists(v => observed.get(v).flatMap(_.version).exists(_ > snapshot.version)) && journal.hasVersion(
          snapshot.version + 1
        )
      val (late, foreign) = differing.partition(v => isLate(v, snapshot, observed.get(v), unclear(v)))
      val others = foreign.filter(v => touched(v) || thorough)
      // Whatever was sent, the journal is listed again: only a pass with nothing to do says how things are (docs/adr/0103).
      if (overtaken) settle(touch, thorough)
      else if (late.nonEmpty) {
        reassert(snapshot, late, observed)
        settle(touch, thorough)
      } else if (others.nonEmpty) {
        recordExternal(snapshot, others, observed)
        settle(touch, thorough)
      } else Settled(snapshot, observed)
    }
  }

  private def reassert(snapshot: Snapshot, late: Seq[Seq[String]], observed: Map[Seq[String], Observed]): Unit = {
    Step("reassert", snapshot.version)
    journal.markUnclear(snapshot.version, late)
    val targets = late.map(v => v -> snapshot.partitions.get(v)).toMap
    try {
      publisher.show(snapshot.version, targets, Some(observed), snapshot.dropped.contains, remove = false, () => ())
      reasserted ++= late.map(PartitionPath.name(table.partitionColumns.map(_.name), _))
    } catch {
      case _: Vanished | _: Overtaken => () // the next pass sees it
      case e: Denied =>
        throw recoveryNeeded(
          snapshot.version,
          journal.entry(snapshot.version).map(_.caller.user).getOrElse("unknown"),
          e
        )
      case e: Refused => throw refused(snapshot.version, e)
    }
  }

  /** Only our own calls leave a version of ours that is not the journal's; whoever else changes a partition keeps its
    * parameters or drops them.
    */
  private def isLate(values: Seq[String], snapshot: Snapshot, observed: Option[Observed], unclear: Boolean): Boolean =
    (snapshot.partitions.get(values), observed) match {
      case (Some(_), None) => unclear && snapshot.dropped.contains(values)
      case (Some(s), Some(o)) =>
        publisher.isPlaceholder(o) || (s.batchId.isDefined || unclear) && o.version.exists(v =>
          v != s.version && v <= snapshot.version
        )
      case (None, Some(o)) =>
        publisher.isPlaceholder(o) ||
        (unclear || snapshot.dropped.contains(values)) && o.version.exists(_ <= snapshot.version)
      case (None, None) => false
    }

  private def recordExternal(
      snapshot: Snapshot,
      values: Seq[Seq[String]],
      observed: Map[Seq[String], Observed]
  ): Unit = {
    val version = snapshot.version + 1
    val changes = values.map { v =>
      val to = observed.get(v).map(Recovery.external(table, _, version))
      PartitionChange(v, to, snapshot.partitions.get(v).map(s => Previous(s.batchId, s.version)))
    }
    if (journal.commit(draft("external", snapshot).copy(changes = changes))) { journal.markShown(version); () }
  }

  def draft(operation: String, snapshot: Snapshot): Entry = Recovery.draft(table, caller, operation, snapshot)

  /** True when something was done, so that the journal must be listed again. */
  private def finishUnfinished(tail: Tail): Boolean = {
    // A refused version's abort is the next version, as nobody writes over an open one.
    def isAborted(v: Long) = tail.refused(v) && v < tail.newest && journal.existing(v + 1).aborts.contains(v)
    val open = (tail.listedFrom to tail.newest).filterNot(v => tail.finished(v) || isAborted(v))
    if (open.isEmpty) false
    else {
      val later = (open.head to tail.newest).map(journal.existing)
      val closed = later.flatMap(_.aborts).toSet
      val todo = later.filter(e => open.contains(e.version) && !closed(e.version))
      todo.foreach(e => if (tail.refused(e.version)) abort(e, Set.empty) else finish(e, tail.newest))
      todo.nonEmpty
    }
  }

  private def finish(entry: Entry, newest: Long): Unit = {
    Step("recover", entry.version)
    val strangers = entry.changes.collect {
      case PartitionChange(v, Some(s), _) if !trusted(v, s) => publisher.locationOf(v, s).toString
    }
    if (strangers.nonEmpty && Recovery.showsPartitions(entry)) {
      Recovery.log.warn(
        s"version ${entry.version} of $table shows ${strangers.head}, which is not a batch of this table: closing it by an abort."
      )
      close(entry, Set.empty)
    } else if (show(entry, journal.snapshot(entry.version - 1), None, markFirst = true)) finished += entry.version
  }

  /** Step 9 and 10 for a committed version. False when it was closed instead.
    *
    * @param before
    *   the state before it
    * @param markFirst
    *   its writer may still be about (or we are not it): what is sent may come late
    * @throws SfBatchException
    *   SFBATCH_RECOVERY_NEEDED, SFBATCH_PUBLISH_REFUSED
    */
  def show(entry: Entry, before: Snapshot, known: Option[Map[Seq[String], Observed]], markFirst: Boolean): Boolean = {
    val targets = entry.changes.map(c => c.values -> c.to).toMap
    if (entry.operation != "abort") failed = None
    def isNew(values: Seq[String]) = !before.partitions.contains(values) || before.dropped.contains(values)
    try {
      if (Recovery.showsPartitions(entry) && targets.nonEmpty) {
        if (markFirst) journal.markUnclear(entry.version, targets.keys)
        Step("showing", entry.version)
        val removes = Set("rollback", "drop_partition", "repair").contains(entry.operation)
        publisher.show(
          entry.version,
          targets,
          known,
          isNew,
          removes,
          () => journal.markUnclear(entry.version, targets.keys)
        )
      }
      Step("shown", entry.version)
      val shown = journal.markShown(entry.version)
      Step("done", entry.version)
      shown
    } catch {
      case e: Vanished => !close(entry, e.values)
      case _: Overtaken =>
        journal.markShown(entry.version) // a later version is there only because this one was finished or closed
      case e: Denied if entry.caller.user != caller.user || entry.operation == "abort" =>
        throw recoveryNeeded(entry.version, entry.caller.user, e)
      case e: Refused if entry.operation == "abort" => throw refused(entry.version, e)
      case e @ (_: Denied | _: Refused) =>
        val closed = close(entry, Set.empty)
        if (closed) failed = Some(e)
        !closed
    }
  }

  /** Why the metastore refused the version that was closed last. */
  var failed: Option[Throwable] = None

  /** False when others have shown the version meanwhile: then it is published, and what differs came after it. */
  private def close(entry: Entry, vanished: Set[Seq[String]]): Boolean = {
    val closed = journal.markRefused(entry.version)
    if (closed) abort(entry, vanished)
    closed
  }

  /** The version after a refused one: its partitions show again what they showed before; those that others dropped stay
    * dropped.
    *
    * The abort of an abort repeats it (docs/adr/0104).
    */
  private def abort(entry: Entry, vanished: Set[Seq[String]]): Unit = {
    val before = journal.snapshot(entry.version - 1)
    def restored(c: PartitionChange) = if (entry.operation == "abort") c.to else before.partitions.get(c.values)
    val refused = journal.snapshot(entry.version)
    val closing = draft("abort", refused).copy(
      changes = entry.changes.map(c =>
        PartitionChange(
          c.values,
          if (vanished(c.values)) None else restored(c),
          c.to.map(s => Previous(s.batchId, entry.version))
        )
      ),
      aborts = Some(entry.version),
      txnsRestored =
        if (entry.operation == "abort") entry.txnsRestored
        else entry.txn.map(t => t.appId -> before.txns.get(t.appId)).toMap
    )
    if (journal.commit(closing)) {
      Step("aborting", entry.version)
      aborted += entry.version
      show(closing, refused, None, markFirst = true)
      ()
    }
  }

  /** `<root>/<partition>/<14 digits>` with a claim, or an adopted place under the root: a forged journal must not move
    * a partition elsewhere.
    */
  private def trusted(values: Seq[String], shown: Shown): Boolean = shown.batchId match {
    case Some(id) => shown.location.isEmpty && journal.isClaimed(id)
    case None =>
      val location = publisher.locationOf(values, shown)
      val root = journal.store.qualified(table.root)
      Iterator.iterate(location)(_.getParent).takeWhile(_ != null).contains(root) || location == Catalog
        .adoptedLocation(root)
  }

  private def refused(version: Long, cause: Throwable) = new SfBatchException(
    "SFBATCH_PUBLISH_REFUSED",
    s"the metastore refuses to show what version $version of the journal of $table says: ${cause.getMessage}. See the metastore's log; CALL sfbatch.recover(table => '$table') tries again.",
    cause
  )

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

  /** What others made of a partition. */
  def external(table: Table, observed: Observed, version: Long): Shown = {
    val (schema, storage) = observed.partition match {
      case Some(p) => (Catalog.columns(p.getSd.getCols), Catalog.storage(p.getSd))
      case None => (table.columns, table.storage)
    }
    Shown(None, Some(observed.location.toString), version, schema, storage, None, None, None)
  }

  /** Operations whose partitions the metastore is made to show; the others record what is so already, or nothing. */
  def showsPartitions(entry: Entry): Boolean =
    !Set("adopt", "external", "anchor", "drop_anchor", "stage", "discard").contains(entry.operation)
}
