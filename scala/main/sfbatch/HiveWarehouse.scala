package sfbatch

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path

/** The warehouse of a Hive Metastore: opens a connection per operation, as no connection is shared between threads. */
private[sfbatch] final class HiveWarehouse(val conf: Configuration, val caller: Caller) extends Warehouse {
  private val hiveConf = Metastore.hiveConf(conf)
  private val settings = TableLock.Settings.of(conf)
  private val writable = WriteDatabases.of(conf)
  private val remote = hiveConf.get("hive.metastore.uris", "").trim.nonEmpty

  private def using[T](body: Metastore => T): T = using(Metastore.RetrySeconds, body)
  private def using[T](patienceS: Long, body: Metastore => T): T = {
    val metastore = new Metastore(hiveConf, patienceS)
    try body(metastore)
    finally metastore.close()
  }
  private def journal(root: Path, id: String) = new Journal(root, id, Store.of(root, conf))
  private def journal(table: Table): Journal = journal(table.root, table.id)
  private def transaction(table: Table, metastore: Metastore) =
    new Transaction(table, journal(table), metastore, () => new Metastore(hiveConf), remote, caller, settings)

  def table(database: String, name: String): Table = using(Metastore.RetryAtFirstSeconds, load(_, database, name))

  private def load(metastore: Metastore, database: String, name: String): Table = {
    def unknown =
      if (metastore.database(database).isEmpty) Errors.unknownDatabase(database)
      else Errors.unknownTable(database, name)
    val table = Catalog.table(metastore.table(database, name).getOrElse(throw unknown))
    checkOwner(table)
    table
  }

  private def checkOwner(table: Table): Unit =
    journal(table).owner match {
      case Some(owner) if owner.tableId == table.id => ()
      case other =>
        throw new SfBatchException(
          "SFBATCH_TABLE_ID_MISMATCH",
          s"table $table has id ${table.id}, but ${table.root} belongs to ${other.map(o => s"${o.database}.${o.table}, id ${o.tableId}").getOrElse("nobody (no _sfbatch/owner.json)")}. " +
            s"Set the table's ${Table.Root} to its own root."
        )
    }

  // --- writing ---

  def begin(table: Table, options: WriteOptions): Either[Outcome.AlreadyPublished, Write] = {
    writable.check(table.database)
    val files = journal(table)
    if (!table.parameters.get(Table.FormatName).exists(f => Format.of(f).isDefined))
      throw new SfBatchException(
        "SFBATCH_UNSUPPORTED",
        s"table $table is stored by ${table.storage.serde}, which sfbatch does not write. Write Parquet, ORC or text."
      )
    val tail = files.tail()
    val snapshot = files.current(tail)
    val published = options.txn.filter(t => snapshot.txns.get(t.appId).exists(_ >= t.version))
    // A mark counts once its version is shown: an unfinished one may yet be aborted.
    if (published.isDefined && tail.finished(tail.newest)) Left(Outcome.AlreadyPublished(published.get))
    else if (published.isDefined) {
      recover(table)
      begin(table, options)
    } else {
      val batch = files.claim(caller)
      Step("claimed", batch)
      Right(
        new TableWrite(
          table,
          options,
          batch,
          snapshot.partitions,
          files,
          body => using(m => body(transaction(table, m))),
          caller
        )
      )
    }
  }

  def partitions(table: Table): Set[Seq[String]] = {
    val files = journal(table)
    files.current(files.tail()).partitions.keySet
  }

  def dropPartitions(table: Table, partitions: Seq[Seq[String]]): Option[Long] = using { metastore =>
    writable.check(table.database)
    transaction(table, metastore)
      .run[Unit]("drop_partition", _ => partitions.toSet) { state =>
        val there = partitions.distinct.flatMap(v => state.partitions.get(v).map(v -> _))
        if (there.isEmpty) Left(())
        else
          Right(template(table).copy(changes = there.map { case (v, s) =>
            PartitionChange(v, None, Some(Previous(s.batchId, s.version)))
          }))
      }
      .toOption
      .map(_.version)
  }

  private def template(table: Table): Entry = Entry.template(table, caller)

  def history(table: Table, partition: Option[Map[String, String]], limit: Int): Seq[HistoryRow] =
    new History(table, journal(table)).rows(partition, limit)

  def rollback(table: Table, to: String, partition: Option[Map[String, String]], dryRun: Boolean): RollbackResult =
    using { metastore =>
      if (!dryRun) writable.check(table.database)
      new Rollback(table, journal(table), transaction(table, metastore), template(table)).run(to, partition, dryRun)
    }

  def recover(table: Table): RecoverResult = using { metastore =>
    writable.check(table.database)
    transaction(table, metastore).recover()
  }

  def locked[T](table: Table)(body: => T): T = using { metastore =>
    writable.check(table.database)
    transaction(table, metastore).locked(body)
  }

  def create(spec: TableSpec): Table = using { metastore =>
    writable.check(spec.database)
    new TableCreation(metastore, conf, caller, journal(_, _), transaction(_, metastore)).create(spec)
  }

  def adopt(database: String, name: String): Table = using { metastore =>
    writable.check(database)
    new Adoption(metastore, caller, journal(_, _), transaction(_, metastore)).adopt(database, name)
  }
}
