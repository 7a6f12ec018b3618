package sfbatch

import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.metastore.api.{Table => HiveTable}
import scala.collection.JavaConverters._

/** An existing Hive table becomes ours in place: no file is moved, its present partitions are version 1. */
private[sfbatch] final class Adoption(
    metastore: Metastore,
    caller: Caller,
    journalOf: (Path, String) => Journal,
    transactionOf: Table => Transaction
) {

  /** @throws SfBatchException
    *   SFBATCH_UNKNOWN_TABLE, SFBATCH_ALREADY_OURS, SFBATCH_CANNOT_ADOPT, SFBATCH_LOCATION_OWNED
    */
  def adopt(database: String, name: String): Table = {
    def found = metastore.table(database, name).getOrElse(throw Errors.unknownTable(database, name))
    val before = found
    refuse(before)
    val root = rootOf(before)
    val id = own(before, root)
    Step("owned", root)
    val files = journalOf(root, id)
    transactionOf(claimed(before, id, root, PartitionStyle.Value)).locked {
      val hive = found // as it is now: another adopt may have been faster
      refuse(hive)
      if (rootOf(hive) != root)
        throw new SfBatchException("SFBATCH_CANNOT_ADOPT", s"$database.$name was moved meanwhile. Run adopt again.")
      val tail = files.tail()
      if (tail.newest > 0 && !tail.finished(tail.newest))
        files.markShown(tail.newest) // an adopt that died before the table was ours
      val state = files.current(tail)
      val names = if (hive.getPartitionKeysSize > 0) metastore.allPartitionNames(database, name) else Nil
      val present = metastore.partitions(database, name, names)
      val style = styleFor(hive, files, root, present.map { case (v, p) => v -> p.getSd.getLocation })
      val location = hive.getSd.getLocation
      val parameters = hive.getParameters
      val table = claimed(hive, id, root, style)
      val shown =
        if (table.isPartitioned) present.map { case (v, p) =>
          v -> adopted(
            p.getSd.getLocation,
            Catalog.columns(p.getSd.getCols),
            Catalog.storage(p.getSd),
            p.getParameters,
            state
          )
        }
        else Map(Seq.empty[String] -> adopted(location, table.columns, table.storage, parameters, state))
      val gone = (state.partitions.keySet -- shown.keySet).map(PartitionChange(_, None, None))
      val entry = Recovery
        .draft(table, caller, "adopt", state)
        .copy(changes = shown.toSeq.sortBy(_._1.mkString("\u0000")).map { case (v, s) =>
          PartitionChange(v, Some(s), None)
        } ++ gone)
      if (!files.commit(entry))
        throw new SfBatchException("SFBATCH_LOCATION_OWNED", s"$root: another adopt got there first.")
      // By its version a call that comes late is known as ours (Recovery.isLate).
      if (!table.isPartitioned) hive.putToParameters(Table.Version, entry.version.toString)
      try metastore.alterTable(database, name, hive)
      catch {
        case e: Unclear if metastore.table(database, name).exists(_.getParameters.get(Table.Id) == id) => ()
        case e: MetastoreFailure =>
          throw new SfBatchException(
            "SFBATCH_CANNOT_ADOPT",
            s"the metastore did not make $database.$name ours: ${e.getMessage}. Run adopt again.",
            e
          )
      }
      files.markShown(entry.version)
    }
    Catalog.table(found)
  }

  private def rootOf(hive: HiveTable): Path = {
    val at = new Path(hive.getSd.getLocation)
    if (hive.getPartitionKeysSize > 0) at else new Path(at, Catalog.AdoptedBatches)
  }

  /** Makes `hive` ours, here only; the metastore is told later. */
  private def claimed(hive: HiveTable, id: String, root: Path, style: PartitionStyle): Table = {
    val files = Catalog.storage(hive.getSd).copy(serdeProperties = Map.empty)
    val format = Format.all.find(_.storage == files).fold("hive")(_.name)
    Catalog.table(Catalog.claim(hive, id, format, style, root))
  }

  private def adopted(
      location: String,
      columns: Seq[Column],
      storage: Storage,
      parameters: java.util.Map[String, String],
      state: Snapshot
  ) = {
    def number(name: String) = Option(parameters)
      .flatMap(p => Option(p.get(name)))
      .flatMap(v => scala.util.Try(v.toLong).toOption)
      .filter(_ >= 0)
    Shown(None, Some(location), state.version + 1, columns, storage, None, number("totalSize"), number("numFiles"))
  }

  private def refuse(hive: HiveTable): Unit = {
    val full = s"${hive.getDbName}.${hive.getTableName}"
    val parameters = hive.getParameters.asScala
    def no(why: String) = throw new SfBatchException("SFBATCH_CANNOT_ADOPT", s"$full $why")
    if (parameters.contains(Table.Id))
      throw new SfBatchException(
        "SFBATCH_ALREADY_OURS",
        s"$full is a table of sfbatch already: there is nothing to do."
      )
    if (hive.getTableType == "VIRTUAL_VIEW" || hive.getTableType == "MATERIALIZED_VIEW")
      no("is a view; adopt the tables it reads.")
    if (parameters.get("transactional").exists(_.equalsIgnoreCase("true")))
      no("is an ACID table; copy it into a new table with CREATE TABLE ... USING sfbatch AS SELECT.")
    if (Option(hive.getSd.getBucketCols).exists(!_.isEmpty))
      no("is bucketed; copy it into a new table with CREATE TABLE ... USING sfbatch AS SELECT.")
    parameters
      .get("table_type")
      .filter(t => Set("iceberg", "delta", "hudi")(t.toLowerCase))
      .orElse(parameters.get("storage_handler"))
      .foreach { system =>
        no(
          s"is a table of $system, which keeps account of its files itself; copy it into a new table with CREATE TABLE ... USING sfbatch AS SELECT."
        )
      }
    Seq("skip.header.line.count", "skip.footer.line.count").find(p => parameters.get(p).exists(_ != "0")).foreach { p =>
      no(
        s"has $p = ${parameters(p)}, which would take rows of the files sfbatch writes; copy it into a new table with CREATE TABLE ... USING sfbatch AS SELECT."
      )
    }
    parameters.get("spark.sql.sources.provider").filterNot(_.equalsIgnoreCase("hive")).foreach { provider =>
      no(
        s"is a Spark data source table (USING $provider), whose running readers would not see a switch; copy it into a new table with CREATE TABLE ... USING sfbatch AS SELECT."
      )
    }
  }

  private def own(hive: HiveTable, root: Path): String = {
    val fresh = Owner(
      java.util.UUID.randomUUID().toString,
      hive.getDbName,
      hive.getTableName,
      java.util.UUID.randomUUID().toString
    )
    val files = journalOf(root, fresh.tableId)
    if (files.own(fresh, caller)) fresh.tableId
    else {
      val owner = files.owner.get
      val keys = Catalog.columns(hive.getPartitionKeys)
      if (
        TakeUp.allows(
          owner,
          journalOf(root, owner.tableId),
          metastore,
          "adopt",
          hive.getDbName,
          hive.getTableName,
          keys
        )
      )
        owner.tableId
      else
        throw new SfBatchException(
          "SFBATCH_LOCATION_OWNED",
          s"$root belongs to table ${owner.database}.${owner.table} (id ${owner.tableId}). Two tables cannot share one location."
        )
    }
  }

  /** No new batch may lie within a directory a reader lists now: Hive may read what lies deeper, Spark's text readers
    * fail on it.
    */
  private def styleFor(
      hive: HiveTable,
      files: Journal,
      root: Path,
      locations: Map[Seq[String], String]
  ): PartitionStyle = {
    val columns = hive.getPartitionKeys.asScala.map(_.getName).toSeq
    val used = locations.values.map(l => files.store.qualified(new Path(l))).toSet
    def collides(style: PartitionStyle) = locations.keys.exists { values =>
      val directory = files.store.qualified(new Path(root, PartitionPath.directory(style, columns, values)))
      Iterator.iterate(directory)(_.getParent).takeWhile(_ != null).exists(used)
    }
    // `<root>/2016` of one partition is where batches of the value 2016 would go one day.
    val place = files.store.qualified(root).toUri.getPath + "/"
    val isValue = used.map(_.toUri.getPath).exists { path =>
      val segments = path.stripPrefix(place).split('/')
      path.startsWith(place) && segments.size <= columns.size && !segments.exists(_.contains('='))
    }
    if (columns.isEmpty || !isValue && !collides(PartitionStyle.Value)) PartitionStyle.Value
    else if (!collides(PartitionStyle.Hive)) PartitionStyle.Hive
    else
      throw new SfBatchException(
        "SFBATCH_CANNOT_ADOPT",
        s"the partitions of ${hive.getDbName}.${hive.getTableName} lie where new batches would: copy it into a new table with CREATE TABLE ... USING sfbatch AS SELECT."
      )
  }
}
