package sfbatch

/** Who changed what and when, from the journal alone; newest first. */
private[sfbatch] final class History(table: Table, journal: Journal) {
  private val names = table.partitionColumns.map(_.name)

  /** A row per version and partition; a version without partitions has one row. At most `limit` versions that match. */
  def rows(partition: Option[Map[String, String]], limit: Int): Seq[HistoryRow] = {
    val tail = journal.tail()
    val state = journal.current(tail)
    val filter = partition.map(PartitionFilter(table, _))
    tail.newest
      .to(1L, -1L)
      .iterator
      .grouped(math.min(limit, History.AtOnceMost).max(1))
      .flatMap(versions => AtOnce.map(versions)(journal.entry).flatten)
      .map(e =>
        e -> e.changes.filter(c => filter.forall(_.matches(c.values))).sortBy(c => PartitionPath.name(names, c.values))
      )
      .filter { case (_, changes) => filter.isEmpty || changes.nonEmpty }
      .take(limit)
      .flatMap { case (entry, changes) =>
        if (changes.isEmpty) Seq(row(entry, None, state)) else changes.map(c => row(entry, Some(c), state))
      }
      .toVector
  }

  private def row(e: Entry, change: Option[PartitionChange], state: Snapshot): HistoryRow = {
    val shown = change.flatMap(_.to)
    HistoryRow(
      e.version,
      e.timestamp,
      e.caller.user,
      e.operation,
      change.filter(_ => table.isPartitioned).map(c => PartitionPath.name(names, c.values)),
      shown.flatMap(_.batchId).map(_.value),
      change.flatMap(_.previous).flatMap(_.batchId).map(_.value),
      change.map(c => state.partitions.get(c.values).map(_.version) == shown.map(_.version) && shown.isDefined),
      change.flatMap(c =>
        shown.map(s => s.location.getOrElse(PartitionPath.batch(table, c.values, s.batchId.get).toString))
      ),
      shown.flatMap(_.rows),
      shown.flatMap(_.bytes),
      shown.flatMap(_.files),
      e.caller.appId,
      e.caller.jobId,
      e.userMetadata
    )
  }
}

private[sfbatch] object History {
  private val AtOnceMost = 64
}

/** Some of the partition columns with their values: `year=2016` matches every month of it. */
private[sfbatch] final case class PartitionFilter(wanted: Seq[Option[String]]) {
  def matches(values: Seq[String]): Boolean = wanted.zip(values).forall { case (w, v) => w.forall(_ == v) }
}

private[sfbatch] object PartitionFilter {

  /** @throws SfBatchException SFBATCH_UNKNOWN_COLUMN */
  def apply(table: Table, spec: Map[String, String]): PartitionFilter = {
    val columns = table.partitionColumns.map(_.name.toLowerCase)
    spec.keys.find(k => !columns.contains(k.toLowerCase)).foreach { k =>
      throw new SfBatchException(
        "SFBATCH_UNKNOWN_COLUMN",
        s"'$k' is no partition column of $table: it has ${if (columns.isEmpty) "none" else columns.mkString(", ")}."
      )
    }
    val byName = spec.map { case (k, v) => k.toLowerCase -> (if (v == null || v.isEmpty) PartitionPath.Default else v) }
    PartitionFilter(columns.map(byName.get))
  }
}
