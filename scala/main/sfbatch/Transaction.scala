package sfbatch

import scala.util.control.NonFatal

/** Steps 5 to 10 for any operation: lock, recover, decide, journal, publish, done. */
final class Transaction(
    table: Table,
    journal: Journal,
    metastore: Metastore,
    newMetastore: () => Metastore,
    remote: Boolean,
    caller: Caller,
    settings: TableLock.Settings
) {
  private val publisher = new Publisher(table, journal, metastore)

  def locked[T](body: => T): T = TableLock.holding(metastore, newMetastore, remote, table.id, caller, settings)(body)

  def recover(): RecoverResult = locked {
    publisher.hiveTable()
    val recovery = new Recovery(table, journal, publisher, caller)
    recovery.settle(_ => Set.empty, thorough = true)
    recovery.result
  }

  /** The partitions as the metastore shows them now, others' changes included: for a dry run, which journals nothing.
    */
  def seen(snapshot: Snapshot, values: Set[Seq[String]]): Snapshot = {
    val observed = publisher.observe(values)
    val differing = values.filterNot(v => publisher.agrees(v, snapshot.partitions.get(v), observed.get(v)))
    snapshot.copy(partitions =
      snapshot.partitions -- differing ++ differing.flatMap(v =>
        observed.get(v).filterNot(publisher.isPlaceholder).map(v -> Recovery.external(table, _, snapshot.version + 1))
      )
    )
  }

  /** Also those that others added. */
  def partitionsNow(): Set[Seq[String]] =
    if (table.isPartitioned)
      metastore.allPartitionNames(table.database, table.name).map(PartitionPath.values).toSet
    else Set.empty

  /** @param touch
    *   the partitions the version will change, given the state
    * @param prepare
    *   what takes long, given the state; when it did something, the state is settled anew, for what was read before it
    *   says little by then
    * @param decide
    *   Left: nothing is to be published, and why; Right: the version, made from `draft`
    */
  def run[T](
      operation: String,
      touch: Snapshot => Set[Seq[String]],
      prepare: Snapshot => Boolean = _ => false
  )(decide: Snapshot => Either[T, Entry]): Either[T, Entry] = locked {
    Step("locked", table)
    def settled(recovery: Recovery): Settled = {
      sameTable()
      val found = recovery.settle(touch)
      Step("settled", found.snapshot.version)
      if (prepare(found.snapshot)) settled(recovery) else found
    }
    def attempt(): Either[T, Entry] = {
      val recovery = new Recovery(table, journal, publisher, caller)
      val now = settled(recovery)
      decide(now.snapshot) match {
        case Left(reason) => Left(reason)
        case Right(asked) =>
          val draft = recovery.draft(operation, now.snapshot)
          val entry = asked.copy(
            version = draft.version,
            nonce = draft.nonce,
            timestamp = draft.timestamp,
            operation = operation,
            changes = asked.changes.map(c => c.copy(to = c.to.map(_.copy(version = draft.version))))
          )
          withinOneRequest(entry)
          if (!commit(entry)) attempt()
          else {
            Step("journalled", entry.version)
            def settleAgain() = recovery.settle(_ => entry.changes.map(_.values).toSet)
            val shown = committed(entry) {
              val shown = recovery.show(entry, now.snapshot, Some(now.observed), markFirst = false)
              if (shown) {
                journal.remember(entry)
                Transaction.checkpoint(journal, entry.version)
              }
              // Overtaken while paused? Then we may just have shown an old version.
              if (shown && journal.hasVersion(entry.version + 1)) settleAgain()
              shown
            }
            if (shown) {
              PublishedLine.tell(table, entry)
              Right(entry)
            } else
              recovery.failed match {
                case Some(e) =>
                  // Paused before the abort's call? Then it may have hidden a later version (docs/adr/0103).
                  try settleAgain()
                  catch { case NonFatal(second) => e.addSuppressed(second) }
                  throw new SfBatchException(
                    if (e.isInstanceOf[Denied]) "SFBATCH_NO_PERMISSION" else "SFBATCH_PUBLISH_REFUSED",
                    s"the metastore refused to show version ${entry.version} of $table (${e.getMessage}). The version is closed; readers see what they saw before.",
                    e
                  )
                case None => attempt() // closed for what others did meanwhile: decide anew
              }
          }
      }
    }
    attempt()
  }

  /** Still the table that was checked: its id, how its files are made, and its columns, of which others may have been
    * added.
    */
  private def sameTable(): Unit = {
    def typed(columns: Seq[Column]) = columns.map(c => (c.name, c.dataType))
    val now = Catalog.table(publisher.hiveTable())
    val same = typed(now.columns).startsWith(typed(table.columns)) && now.storage == table.storage &&
      now.style == table.style && now.root == table.root
    if (!same)
      throw new SfBatchException(
        "SFBATCH_TABLE_ID_MISMATCH",
        s"the columns or the format of $table are not those this write began with.",
        mend = "Nothing was published; run it again."
      )
  }

  /** One thrift message is 100 MiB; a version that needs more could not be shown in one step, nor ever. */
  private def withinOneRequest(entry: Entry): Unit = {
    def bytes(c: PartitionChange): Long = {
      val columns = c.to.fold(table.columns)(_.schema)
      val path = c.to.flatMap(_.location).fold(table.root.toString.length)(_.length)
      1000L + path + c.values.map(3L * _.length).sum +
        columns.map(f => 30L + f.name.length + f.dataType.length + f.comment.fold(0)(_.length)).sum
    }
    val (partitions, asked) = (entry.changes.size, entry.changes.map(bytes).sum)
    if (partitions > 1 && asked > Transaction.MessageBytes)
      throw new SfBatchException(
        "SFBATCH_TOO_MANY_PARTITIONS",
        s"$partitions partitions of ${table.columns.size} columns in one version of $table: one metastore request carries about " +
          s"${partitions * Transaction.MessageBytes / asked}. Nothing was published; write, drop or roll back in several steps, by partition."
      )
  }

  private def commit(entry: Entry): Boolean =
    try journal.commit(entry)
    catch {
      case e: CommitUnclear =>
        throw new SfBatchException(
          "SFBATCH_PUBLISH_UNCLEAR",
          s"${e.detail} Wait a minute, then look at CALL sfbatch.history: run this again only if the version is not there.",
          e
        )
    }

  /** Trouble after the commit must not read as if nothing had happened: run again, an append would add its rows twice.
    * Nor as if all had, when the version was closed: its rows would be nowhere. What became of it says its mark.
    */
  private def committed[T](entry: Entry)(body: => T): T =
    try body
    catch {
      case e: InterruptedException => // Spark's own, when a query is stopped: as it is
        Transaction.log.warn(s"interrupted: version ${entry.version} of $table is committed; ${finishes(entry)}")
        throw e
      case NonFatal(e) =>
        val outcome =
          try journal.outcome(entry.version)
          catch { case NonFatal(second) => e.addSuppressed(second); None }
        throw told(entry, outcome, e)
    }

  private def told(entry: Entry, outcome: Option[Boolean], e: Throwable) = {
    val version = s"version ${entry.version} of $table"
    val reason = Errors.reason(e)
    val (code, detail) = outcome match {
      case Some(false) =>
        "SFBATCH_PUBLISH_REFUSED" ->
          s"$version is closed: readers do not see it, or not for long ($reason). Mend what this says, and run it again."
      case Some(true) =>
        "SFBATCH_PUBLISH_UNCLEAR" ->
          s"$version is committed and was shown, but what others did meanwhile could not be settled ($reason). Do not run this again: the next writer, or CALL sfbatch.recover(table => '$table'), settles it."
      case None =>
        "SFBATCH_PUBLISH_UNCLEAR" ->
          s"$version is committed, and readers may see it or not yet ($reason). Do not run this again: ${finishes(entry)}"
    }
    new SfBatchException(code, detail, e)
  }

  private def finishes(entry: Entry) =
    s"the next writer, or CALL sfbatch.recover(table => '$table'), finishes it, under its new name if it was renamed; CALL sfbatch.history says so if it was aborted instead."
}

object Transaction {
  private val MessageBytes = 95L * 1024 * 1024

  private val log = org.slf4j.LoggerFactory.getLogger("sfbatch.Transaction")

  /** Losing a checkpoint loses speed only, so trouble here is no trouble of the write's. */
  def checkpoint(journal: Journal, version: Long): Unit =
    if (version % Journal.CheckpointEvery == 0)
      try journal.writeCheckpoint(journal.snapshot(version))
      catch { case NonFatal(e) => log.warn(s"checkpoint $version was not written: ${e.getMessage}") }
}
