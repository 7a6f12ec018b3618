package sfbatch

import org.apache.hadoop.fs.Path

/** Brings partitions back to what a version showed, their own columns included; itself a version, so it can be undone.
  */
private[sfbatch] final class Rollback(table: Table, journal: Journal, transaction: Transaction, template: Entry) {
  private val names = table.partitionColumns.map(_.name)

  def run(to: String, partition: Option[Map[String, String]], dryRun: Boolean): RollbackResult = {
    val filter = partition.map(PartitionFilter(table, _))
    val newest = journal.tail().newest
    val target = version(to, newest)
    def asked(values: Seq[String]): Boolean = filter.forall(_.matches(values))
    val wanted = journal.snapshot(target).partitions.filter { case (v, _) => asked(v) }
    // Others may have dropped, moved or added some, unknown to the journal: all of them are looked at.
    val others = transaction.partitionsNow().filter(asked)
    def touch(now: Snapshot): Set[Seq[String]] = now.partitions.keySet.filter(asked) ++ wanted.keySet ++ others
    def changes(now: Snapshot): Seq[PartitionChange] = {
      val present = now.partitions.filter { case (v, _) => asked(v) }
      if (filter.isDefined && present.isEmpty && wanted.isEmpty)
        throw new SfBatchException(
          "SFBATCH_UNKNOWN_PARTITION",
          s"$table has no partition ${partition.get.map { case (k, v) => s"$k=$v" }.mkString("/")}, neither now nor at version $target. See CALL sfbatch.history."
        )
      (present.keySet ++ wanted.keySet).toSeq.sortBy(_.mkString("\u0000")).flatMap { v =>
        (present.get(v), wanted.get(v)) match {
          case (Some(a), Some(b)) if a.sameData(b) => None
          case (a, b) => Some(PartitionChange(v, b, a.map(s => Previous(s.batchId, s.version))))
        }
      }
    }
    if (dryRun) {
      val snapshot = journal.snapshot(newest)
      val planned = changes(transaction.seen(snapshot, touch(snapshot)))
      planned.foreach(stillThere)
      RollbackResult(None, target, planned.map(describe), None)
    } else
      transaction.run[Unit]("rollback", touch) { state =>
        if (wasRefused(target)) throw unknown(to, newest) // closed while this waited
        val now = changes(state)
        now.foreach(stillThere)
        if (now.isEmpty) Left(()) else Right(template.copy(changes = now, to = Some(target)))
      } match {
        case Left(()) => RollbackResult(None, target, Nil, None)
        case Right(entry) =>
          val where =
            partition.map(p => s", partition => '${p.map { case (k, v) => s"$k=$v" }.mkString("/")}'").getOrElse("")
          RollbackResult(
            Some(entry.version),
            target,
            entry.changes.map(describe),
            Some(s"CALL sfbatch.rollback(table => '$table', to => '${entry.version - 1}'$where)")
          )
      }
  }

  private def describe(c: PartitionChange): Change = {
    val action = if (c.to.isEmpty) "leaves" else if (c.previous.isEmpty) "returns" else "restored"
    Change(
      PartitionPath.name(names, c.values),
      c.previous.flatMap(_.batchId).map(_.value),
      c.to.flatMap(_.batchId).map(_.value),
      action
    )
  }

  private def stillThere(c: PartitionChange): Unit = c.to.foreach { shown =>
    shown.location.filter(l => PartitionPath.above(table, c.values).contains(new Path(l).toUri.getPath)).foreach {
      place =>
        throw new SfBatchException(
          "SFBATCH_CONFLICT",
          s"partition ${PartitionPath.name(names, c.values)} of $table cannot go back to $place: batches of sfbatch lie within. Nothing was changed."
        )
    }
    val location = shown.location
      .map(new Path(_))
      .getOrElse(PartitionPath.batch(table, c.values, shown.batchId.get))
    if (!journal.store.exists(location))
      throw new SfBatchException(
        "SFBATCH_BATCH_GONE",
        s"$location is no longer there: partition ${PartitionPath.name(names, c.values)} of $table cannot go back to it. Nothing was changed."
      )
  }

  private def wasRefused(version: Long): Boolean = journal.entry(version + 1).exists(_.aborts.contains(version))

  /** 14 digits are a batch ID (the version that first published it), other digits a version. */
  private def version(to: String, newest: Long): Long =
    if (BatchId.isBatchId(to)) {
      val id = BatchId.parse(to)
      (1L to newest).iterator
        .flatMap(journal.entry)
        .find(e =>
          e.operation != "abort" && e.changes.exists(_.to.exists(_.batchId.contains(id))) && !wasRefused(e.version)
        )
        .map(_.version)
        .getOrElse(
          throw new SfBatchException(
            "SFBATCH_UNKNOWN_VERSION",
            s"no version of $table published batch $to. CALL sfbatch.history(table => '$table') lists them."
          )
        )
    } else if (to.matches("[0-9]{1,13}") && to.toLong >= 1 && to.toLong <= newest && !wasRefused(to.toLong)) to.toLong
    else throw unknown(to, newest)

  private def unknown(to: String, newest: Long) = new SfBatchException(
    "SFBATCH_UNKNOWN_VERSION",
    s"'$to' is no version of $table that was shown: it has 1 to $newest, or give a batch ID of 14 digits. CALL sfbatch.history(table => '$table') lists them."
  )
}
