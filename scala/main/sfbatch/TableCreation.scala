package sfbatch

import java.time.Instant
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.metastore.api.AlreadyExistsException

/** CREATE TABLE: the location becomes the table's own, then version 1, then the metastore's table. */
private[sfbatch] final class TableCreation(
    metastore: Metastore,
    conf: Configuration,
    caller: Caller,
    journalOf: (Path, String) => Journal,
    transactionOf: Table => Transaction
) {

  /** @throws SfBatchException
    *   SFBATCH_TABLE_EXISTS, SFBATCH_UNKNOWN_DATABASE, SFBATCH_LOCATION_OWNED, SFBATCH_LOCATION_NOT_EMPTY,
    *   SFBATCH_CREATE_REFUSED
    */
  def create(spec: TableSpec): Table = {
    absent(spec)
    val (root, id) = place(spec)
    Step("owned", root)
    val files = journalOf(root, id)
    val batch = if (spec.partitionColumns.isEmpty) Some(files.claim(caller)) else None
    val location = batch.map(b => new Path(root, b.value)).getOrElse(root)
    files.store.makeDirectory(location)
    val hive = Catalog.hiveTable(spec, id, root, location, caller.user)
    val table = Catalog.table(hive)
    transactionOf(table).locked {
      absent(spec) // another CREATE of it may have been faster
      val tail = files.tail()
      // What a CREATE that died left is closed for good: it may be paused, and go on.
      val dead = Some(tail.newest).filter(n => n > 0 && !tail.finished(n)).filter(files.markRefused)
      val state = files.current(tail)
      val shown =
        batch.map(b => Shown(Some(b), None, state.version + 1, table.columns, table.storage, Some(0), Some(0), Some(0)))
      val entry = Recovery
        .draft(table, caller, "create", state)
        .copy(changes = shown.map(s => PartitionChange(Nil, Some(s), None)).toSeq, batchId = batch, aborts = dead)
      if (!files.commit(entry))
        throw new SfBatchException("SFBATCH_LOCATION_OWNED", s"$root: another CREATE TABLE got there first.")
      Step("created", entry.version)
      shown.foreach { s =>
        hive.getParameters.put(Table.Version, s.version.toString)
        hive.getParameters.put(Table.BatchIdName, batch.get.value)
        Seq("numRows", "numFiles", "totalSize").foreach(hive.getParameters.put(_, "0"))
      }
      try make(hive, id)
      catch {
        case e @ (_: Refused | _: Denied) =>
          files.markRefused(entry.version)
          throw if (e.getCause.isInstanceOf[AlreadyExistsException]) exists(spec)
          else
            new SfBatchException(
              "SFBATCH_CREATE_REFUSED",
              s"the metastore refused to create ${spec.database}.${spec.name}: ${e.getMessage}.",
              e
            )
      }
      files.markShown(entry.version)
    }
    Catalog.table(
      metastore.table(spec.database, spec.name).getOrElse(throw Errors.unknownTable(spec.database, spec.name))
    )
  }

  private def absent(spec: TableSpec): Unit =
    if (metastore.table(spec.database, spec.name).isDefined) throw exists(spec)

  private def exists(spec: TableSpec) =
    new SfBatchException("SFBATCH_TABLE_EXISTS", s"table ${spec.database}.${spec.name} exists already.")

  private def make(hive: org.apache.hadoop.hive.metastore.api.Table, id: String): Unit = {
    def there = metastore.table(hive.getDbName, hive.getTableName).exists(_.getParameters.get(Table.Id) == id)
    try metastore.createTable(hive)
    catch {
      case e: Unclear =>
        val deadline = System.nanoTime() + 60L * 1000000000L
        while (!there && System.nanoTime() < deadline) Thread.sleep(500)
        if (!there)
          throw new SfBatchException(
            "SFBATCH_METASTORE_DOWN",
            s"the metastore has not answered for a minute whether it created ${hive.getDbName}.${hive.getTableName} (${e.getMessage}). No row was written. Look: when the table is there, INSERT INTO it; else run this again.",
            e
          )
    }
  }

  /** The location asked for, and its id. Where none is asked for: the database's for this name; or beside it, when the
    * files and history of a table that is gone lie there.
    */
  private def place(spec: TableSpec): (Path, String) = {
    def at(asked: Path): (Path, Either[Owner, String]) = {
      val root = Store.of(asked, conf).qualified(asked)
      root -> own(spec, root)
    }
    def taken(root: Path, owner: Owner) = new SfBatchException(
      "SFBATCH_LOCATION_OWNED",
      s"$root holds the files and history of table ${owner.database}.${owner.table} (id ${owner.tableId}), which stay its own when it is dropped or renamed. Choose another LOCATION, or none."
    )
    val asked = spec.location.getOrElse(usual(spec))
    at(asked) match {
      case (root, Right(id)) => root -> id
      case (root, Left(owner)) if spec.location.isDefined => throw taken(root, owner)
      case (root, Left(owner)) =>
        absent(spec) // or is it that another CREATE was faster?
        val now = Instant.now()
        (0L until 10L).iterator // of two within a second the second one gets a second soon after
          .map(s => at(asked.suffix(s"_${BatchId.at(now.plusSeconds(s))}")))
          .collectFirst { case (beside, Right(id)) => beside -> id }
          .getOrElse(throw taken(root, owner))
    }
  }

  private def usual(spec: TableSpec): Path = metastore.database(spec.database) match {
    case Some(database) => new Path(database.getLocationUri, spec.name.toLowerCase)
    case None => throw Errors.unknownDatabase(spec.database)
  }

  /** The id of the location, taken exclusively, or taken up from a CREATE that came to nothing; else its owner. */
  private def own(spec: TableSpec, root: Path): Either[Owner, String] = {
    val fresh =
      Owner(java.util.UUID.randomUUID().toString, spec.database, spec.name, java.util.UUID.randomUUID().toString)
    val files = journalOf(root, fresh.tableId)
    files.owner match {
      case Some(owner) => takeUp(owner, spec, root)
      case None =>
        Iterator.iterate(root.getParent)(_.getParent).takeWhile(p => p != null && !p.isRoot).foreach { above =>
          if (files.store.exists(new Path(above, "_sfbatch/owner.json")))
            throw new SfBatchException(
              "SFBATCH_LOCATION_OWNED",
              s"$root lies within another table's location, $above. Choose another LOCATION."
            )
        }
        val strangers =
          files.store.list(root).map(_.getPath.getName).filterNot(n => n.startsWith("_") || n.startsWith("."))
        if (strangers.nonEmpty)
          throw new SfBatchException(
            "SFBATCH_LOCATION_NOT_EMPTY",
            s"$root holds files already (${strangers.take(3).mkString(", ")}). Choose another LOCATION; or make a Hive table of them and CALL sfbatch.adopt(table => '${spec.database}.${spec.name}')."
          )
        if (files.own(fresh, caller)) Right(fresh.tableId) else takeUp(files.owner.get, spec, root)
    }
  }

  private def takeUp(owner: Owner, spec: TableSpec, root: Path): Either[Owner, String] = {
    val files = journalOf(root, owner.tableId)
    if (TakeUp.allows(owner, files, metastore, "create", spec.database, spec.name, spec.partitionColumns))
      Right(owner.tableId)
    else Left(owner)
  }
}

/** What a CREATE or an adopt that came to nothing has left is taken up by the next one; an id must have one table. */
private[sfbatch] object TakeUp {

  /** Of this name, with these partition columns, never written, and no table's now. */
  def allows(
      owner: Owner,
      files: Journal,
      metastore: Metastore,
      operation: String,
      database: String,
      name: String,
      partitionColumns: Seq[Column]
  ): Boolean = {
    def typed(columns: Seq[Column]) = columns.map(c => (c.name, c.dataType))
    val sameName = owner.database.equalsIgnoreCase(database) && owner.table.equalsIgnoreCase(name)
    def untouched = (1L to files.tail().newest).iterator
      .flatMap(files.entry)
      .forall(e => e.operation == operation && typed(e.partitionColumns) == typed(partitionColumns))
    def renamed = metastore.tables(owner.database).exists(_.getParameters.get(Table.Id) == owner.tableId)
    sameName && untouched && !renamed
  }
}
