package sfbatch

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path

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
    val full = s"${spec.database}.${spec.name}"
    if (metastore.table(spec.database, spec.name).isDefined)
      throw new SfBatchException("SFBATCH_TABLE_EXISTS", s"table $full exists already.")
    val database = metastore
      .database(spec.database)
      .getOrElse(
        throw new SfBatchException(
          "SFBATCH_UNKNOWN_DATABASE",
          s"there is no database ${spec.database}. Create it: CREATE DATABASE ${spec.database}."
        )
      )
    val asked = spec.location.getOrElse(new Path(database.getLocationUri, spec.name.toLowerCase))
    val store = Store.of(asked, conf)
    val root = store.qualified(asked)
    val id = own(spec, root, store)
    val files = journalOf(root, id)
    val batch = if (spec.partitionColumns.isEmpty) Some(files.claim(caller)) else None
    val location = batch.map(b => new Path(root, b.value)).getOrElse(root)
    store.makeDirectory(location)
    val hive = Catalog.hiveTable(spec, id, root, location, caller.user)
    val table = Catalog.table(hive)
    transactionOf(table).locked {
      closeUnfinished(files)
      val state = files.snapshot(files.tail().newest)
      val shown =
        batch.map(b => Shown(Some(b), None, state.version + 1, table.columns, table.storage, Some(0), Some(0), Some(0)))
      // A table made again at the place of one that never held a row starts from nothing.
      val gone =
        state.partitions.keys.filterNot(v => shown.isDefined && v.isEmpty).map(PartitionChange(_, None, None)).toSeq
      val entry = Recovery
        .draft(table, caller, "create", state)
        .copy(changes = shown.map(s => PartitionChange(Nil, Some(s), None)).toSeq ++ gone, batchId = batch)
      if (!files.commit(entry))
        throw new SfBatchException("SFBATCH_LOCATION_OWNED", s"$root: another CREATE TABLE got there first.")
      shown.foreach { s =>
        hive.getParameters.put(Table.Version, s.version.toString)
        hive.getParameters.put(Table.BatchIdName, batch.get.value)
        Seq("numRows", "numFiles", "totalSize").foreach(hive.getParameters.put(_, "0"))
      }
      try make(hive, id)
      catch {
        case e @ (_: Refused | _: Denied) =>
          throw new SfBatchException(
            "SFBATCH_CREATE_REFUSED",
            s"the metastore refused to create $full: ${e.getMessage}.",
            e
          )
      }
      files.markShown(entry.version)
    }
    Catalog.table(
      metastore.table(spec.database, spec.name).getOrElse(throw Errors.unknownTable(spec.database, spec.name))
    )
  }

  private def make(hive: org.apache.hadoop.hive.metastore.api.Table, id: String): Unit = {
    def there = metastore.table(hive.getDbName, hive.getTableName).exists(_.getParameters.get(Table.Id) == id)
    try metastore.createTable(hive)
    catch {
      case e: Unclear =>
        val deadline = System.nanoTime() + 60L * 1000000000L
        while (!there && System.nanoTime() < deadline) Thread.sleep(500)
        if (!there)
          throw new SfBatchException(
            "SFBATCH_PUBLISH_UNCLEAR",
            s"the metastore did not answer whether it created ${hive.getDbName}.${hive.getTableName} (${e.getMessage}). Look, and run CREATE TABLE again.",
            e
          )
    }
  }

  /** The id of the location, taken exclusively; or the id of a table of this name that is gone and never held a row. */
  private def own(spec: TableSpec, root: Path, store: Store): String = {
    val fresh =
      Owner(java.util.UUID.randomUUID().toString, spec.database, spec.name, java.util.UUID.randomUUID().toString)
    val files = journalOf(root, fresh.tableId)
    files.owner match {
      case Some(owner) => takeUp(owner, spec, root)
      case None =>
        Iterator.iterate(root.getParent)(_.getParent).takeWhile(p => p != null && !p.isRoot).foreach { above =>
          if (store.exists(new Path(above, "_sfbatch/owner.json")))
            throw new SfBatchException(
              "SFBATCH_LOCATION_OWNED",
              s"$root lies within another table's location, $above. Choose another LOCATION."
            )
        }
        val strangers = store.list(root).map(_.getPath.getName).filterNot(n => n.startsWith("_") || n.startsWith("."))
        if (strangers.nonEmpty)
          throw new SfBatchException(
            "SFBATCH_LOCATION_NOT_EMPTY",
            s"$root holds files already (${strangers.take(3).mkString(", ")}). Choose another LOCATION; or make a Hive table of them and CALL sfbatch.adopt(table => '${spec.database}.${spec.name}')."
          )
        if (files.own(fresh, caller)) fresh.tableId else takeUp(files.owner.get, spec, root)
    }
  }

  private def takeUp(owner: Owner, spec: TableSpec, root: Path): String = {
    val files = journalOf(root, owner.tableId)
    val state = files.snapshot(files.tail().newest)
    val sameName = owner.database.equalsIgnoreCase(spec.database) && owner.table.equalsIgnoreCase(spec.name)
    val neverUsed = state.txns.isEmpty && state.partitions.values.forall(_.rows.contains(0L))
    if (sameName && neverUsed) owner.tableId
    else
      throw new SfBatchException(
        "SFBATCH_LOCATION_OWNED",
        s"$root belongs to table ${owner.database}.${owner.table} (id ${owner.tableId}), which holds history. Choose another LOCATION, or move that directory away if its history is no longer wanted."
      )
  }

  /** An earlier CREATE that died left a version without `.done`: nothing of it can be shown, its table is not there. */
  private def closeUnfinished(files: Journal): Unit = {
    val tail = files.tail()
    if (tail.newest > 0 && !tail.finished(tail.newest)) files.markShown(tail.newest)
  }
}
