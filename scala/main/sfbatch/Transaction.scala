package sfbatch

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

  /** @param touch
    *   the partitions the version will change, given the state
    * @param decide
    *   Left: nothing is to be published, and why; Right: the version, made from `draft`
    */
  def run[T](operation: String, touch: Snapshot => Set[Seq[String]])(
      decide: Snapshot => Either[T, Entry]
  ): Either[T, Entry] = locked {
    Step("locked", table)
    publisher.hiveTable() // still the table that was checked
    def attempt(): Either[T, Entry] = {
      val recovery = new Recovery(table, journal, publisher, caller)
      val settled = recovery.settle(touch)
      Step("settled", settled.snapshot.version)
      decide(settled.snapshot) match {
        case Left(reason) => Left(reason)
        case Right(asked) =>
          val draft = recovery.draft(operation, settled.snapshot)
          val entry = asked.copy(
            version = draft.version,
            nonce = draft.nonce,
            timestamp = draft.timestamp,
            operation = operation,
            changes = asked.changes.map(c => c.copy(to = c.to.map(_.copy(version = draft.version))))
          )
          if (!journal.commit(entry)) attempt()
          else {
            Step("journalled", entry.version)
            if (recovery.show(entry, Some(settled.observed), markFirst = false)) {
              Transaction.checkpoint(journal, entry.version)
              // Overtaken while paused? Then we may just have shown an old version.
              if (journal.hasVersion(entry.version + 1)) recovery.settle(_ => entry.changes.map(_.values).toSet)
              Right(entry)
            } else
              recovery.failed match {
                case Some(e) =>
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
}

object Transaction {
  private val log = org.slf4j.LoggerFactory.getLogger("sfbatch.Transaction")

  /** Losing a checkpoint loses speed only, so trouble here is no trouble of the write's. */
  def checkpoint(journal: Journal, version: Long): Unit =
    if (version % Journal.CheckpointEvery == 0)
      try journal.writeCheckpoint(journal.snapshot(version))
      catch { case scala.util.control.NonFatal(e) => log.warn(s"checkpoint $version was not written: ${e.getMessage}") }
}
