package sfbatch

/** A write that holds a claim: verifies what the tasks wrote (step 4), then publishes it. */
private[sfbatch] final class TableWrite(
    val table: Table,
    val options: WriteOptions,
    val batchId: BatchId,
    val current: Map[Seq[String], Shown],
    journal: Journal,
    transact: (Transaction => Outcome) => Outcome,
    caller: Caller
) extends Write {

  def claimAnother(): BatchId = journal.claim(caller)

  def publish(written: Seq[Written]): Outcome = publish(written, None)

  def publish(written: Seq[Written], carry: TableWrite.Carry): Outcome = publish(written, Some(carry))

  private def publish(written: Seq[Written], carry: Option[TableWrite.Carry]): Outcome =
    if (written.isEmpty && options.txn.isEmpty) Outcome.Published(None, 0)
    else {
      Step("written", table)
      verify(written)
      Step("verified", table)
      val touched = written.map(_.values).toSet
      var latest = written
      def carried(state: Snapshot): Boolean = (decide(latest, state), carry) match {
        case (Left(Outcome.BaseMoved(now)), Some(again)) =>
          val moved = again(now)
          verify(moved)
          latest = latest.filterNot(w => now.contains(w.values)) ++ moved
          true
        case _ => false
      }
      transact { transaction =>
        transaction
          .run[Outcome]("write", _ => touched, carried)(decide(latest, _))
          .fold(identity, entry => Outcome.Published(Some(entry.version), entry.changes.size))
      }
    }

  private def decide(written: Seq[Written], state: Snapshot): Either[Outcome, Entry] = {
    val done = options.txn.filter(t => state.txns.get(t.appId).exists(_ >= t.version))
    val moved = if (options.append) written.filterNot(w => same(state.partitions.get(w.values), w.base)) else Nil
    if (done.isDefined) Left(Outcome.AlreadyPublished(done.get))
    else {
      notWithin(written.map(_.values), state)
      options.expectedBatchId.foreach(expected =>
        written.foreach(w => expect(expected, w.values, state.partitions.get(w.values)))
      )
      moved.foreach(w => noNewColumns(state.partitions.get(w.values)))
      if (moved.nonEmpty) Left(Outcome.BaseMoved(moved.map(w => w.values -> state.partitions.get(w.values)).toMap))
      else
        Right(
          Entry
            .template(table, caller)
            .copy(
              changes = written.map { w =>
                val shown =
                  Shown(Some(w.batchId), None, 0, table.columns, table.storage, w.rows, Some(w.bytes), Some(w.files))
                PartitionChange(
                  w.values,
                  Some(shown),
                  state.partitions.get(w.values).map(s => Previous(s.batchId, s.version))
                )
              },
              batchId = Some(batchId),
              mode = Some(if (options.append) "append" else "overwrite"),
              txn = options.txn,
              userMetadata = options.userMetadata
            )
        )
    }
  }

  /** A partition that others made where batches go: its readers would list old and new, for ever. */
  private def notWithin(written: Seq[Seq[String]], state: Snapshot): Unit = {
    val made = state.partitions.iterator.flatMap { case (v, s) => s.location.map(PartitionPath.ofLocation(_) -> v) }
    lazy val aboves = written.flatMap(PartitionPath.above(table, _)).toSet
    made.find { case (path, _) => aboves(path) }.foreach { case (above, owner) =>
      val partition = PartitionPath.name(table.partitionColumns.map(_.name), owner)
      throw new SfBatchException(
        "SFBATCH_CONFLICT",
        s"partition $partition of $table was made by another tool at $above, where sfbatch's batches go. Nothing was published. " +
          s"ALTER TABLE $table DROP PARTITION ($partition), which leaves the files, then run this again; INSERT what those files hold."
      )
    }
  }

  /** The rows of the new base are copied as this write knows the table: columns added meanwhile would be lost. */
  private def noNewColumns(base: Option[Shown]): Unit =
    base.filter(_.schema.size > table.columns.size).foreach { _ =>
      throw new SfBatchException(
        "SFBATCH_COLUMN_MISMATCH",
        s"columns were added to $table, and written, while this append ran. Nothing was published; run it again."
      )
    }

  private def same(now: Option[Shown], base: Option[Shown]): Boolean =
    now.map(s => (s.version, s.batchId, s.location)) == base.map(s => (s.version, s.batchId, s.location))

  private def expect(expected: BatchId, values: Seq[String], now: Option[Shown]): Unit =
    if (!now.flatMap(_.batchId).contains(expected))
      throw new SfBatchException(
        "SFBATCH_BATCH_CHANGED",
        s"partition ${PartitionPath.name(table.partitionColumns.map(_.name), values)} of $table shows batch ${now.flatMap(_.batchId).map(_.value).getOrElse("none")}, " +
          s"not the expected $expected. Nothing was published; read the table again and decide."
      )

  /** A committer that puts files elsewhere makes a job "succeed" without rows: so the directories are listed. */
  private def verify(written: Seq[Written]): Unit = {
    def check(w: Written): Unit = {
      val directory = PartitionPath.batch(table, w.values, w.batchId)
      if (w.files == 0) journal.store.makeDirectory(directory)
      val files = journal.store
        .list(directory)
        .filterNot(f => f.getPath.getName.startsWith("_") || f.getPath.getName.startsWith("."))
      val (count, bytes) = (files.size.toLong, files.map(_.getLen).sum)
      if (count != w.files || bytes != w.bytes || files.exists(_.isDirectory))
        throw new SfBatchException(
          "SFBATCH_FILES_DIFFER",
          s"$directory holds $count files, $bytes bytes; the tasks wrote ${w.files} files, ${w.bytes} bytes. Nothing was published; check the output committer settings and run again."
        )
    }
    AtOnce.map(written)(check)
    ()
  }
}

private[sfbatch] object TableWrite {
  type Carry = Map[Seq[String], Option[Shown]] => Seq[Written]
}
