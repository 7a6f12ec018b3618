package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{SfBatchException, Table, WriteDatabases}
import org.apache.hadoop.fs.Path
import org.apache.spark.sql.SaveMode
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.analysis.{
  EliminateSubqueryAliases,
  ResolvedIdentifier,
  ResolvedNamespace,
  ResolvedTable
}
import org.apache.spark.sql.catalyst.catalog.{CatalogTable, HiveTableRelation}
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.catalyst.trees.TreeNodeTag
import org.apache.spark.sql.connector.catalog.{CatalogV2Util, Identifier, V1Table}
import org.apache.spark.sql.execution.command._
import org.apache.spark.sql.execution.datasources.{CreateTable, InsertIntoHadoopFsRelationCommand}
import org.apache.spark.sql.execution.datasources.v2.DataSourceV2Relation
import org.apache.spark.sql.sfbatch.Guards.{name, no}
import org.apache.spark.sql.sfbatch.Shims.Session
import scala.util.Try

/** Refuses or routes the statements that would break a table of ours; must leave statements on any other table to
  * Spark.
  *
  * In the resolution batch, after Spark's ResolveSessionCatalog: every catalog's statement on a Hive table is one of
  * Spark's V1 commands by then (Spark 3.5.6 and 4.0.2, the same classes).
  */
final case class Guards(session: Session) extends Rule[LogicalPlan] {
  override def apply(plan: LogicalPlan): LogicalPlan =
    if (plan.analyzed) plan
    else {
      SaveAsTableOverwrite.check(plan)
      plan.resolveOperators {
        // The metastore is asked once, not by each case.
        case OnTable(command, name) => OurTable.of(session, name).map(onOurs(command, _)).getOrElse(command)
        case statement => onAny.applyOrElse(statement, identity[LogicalPlan])
      }
    }

  /** A command on the table `t` of ours. */
  private def onOurs(command: RunnableCommand, t: CatalogTable): LogicalPlan = command match {
    case TruncateTableCommand(_, None) =>
      no(
        t,
        "TRUNCATE TABLE",
        "it would delete published files",
        s"ALTER TABLE ${name(t)} DROP PARTITION (...), or INSERT OVERWRITE ${name(t)} with no rows when it has no partitions"
      )
    case TruncateTableCommand(_, Some(_)) =>
      no(t, "TRUNCATE ... PARTITION", "it would delete published files", s"ALTER TABLE ${name(t)} DROP PARTITION (...)")
    case _: LoadDataCommand =>
      no(
        t,
        "LOAD DATA",
        "it would move files into a published batch",
        s"INSERT INTO ${name(t)} SELECT * FROM parquet.`<path>` (or orc., csv.)"
      )
    case c: RepairTableCommand =>
      no(
        t,
        c.cmd,
        "it would take batch directories for partitions",
        s"INSERT INTO ${name(t)} SELECT * FROM parquet.`<path>` for files made elsewhere"
      )
    case _: AlterTableAddPartitionCommand =>
      no(
        t,
        "ADD PARTITION",
        "a partition is published with its rows",
        s"INSERT OVERWRITE ${name(t)} PARTITION (...) SELECT ...; a partition with no rows is published empty"
      )
    case _: AlterTableSetLocationCommand =>
      no(
        t,
        "SET LOCATION",
        "locations are the batches that were published",
        s"CALL sfbatch.rollback(table => '${name(t)}', to => <version>), or INSERT OVERWRITE"
      )
    case _: AlterTableRenamePartitionCommand =>
      no(
        t,
        "RENAME PARTITION",
        "it would move a published batch",
        s"INSERT OVERWRITE ${name(t)} PARTITION (<new>) SELECT ... WHERE <old>, then DROP PARTITION (<old>)"
      )
    case _: AlterTableSerDePropertiesCommand =>
      no(
        t,
        "SET SERDE / SERDEPROPERTIES",
        "files already published could no longer be read",
        s"CREATE TABLE <new> USING sfbatch OPTIONS (...) AS SELECT * FROM ${name(t)}"
      )
    case _: AnalyzeTableCommand | _: AnalyzeColumnCommand =>
      no(
        t,
        "ANALYZE TABLE",
        "nothing would refresh statistics of the whole table",
        "nothing: every publish records the rows, files and bytes of its partitions"
      )
    case _: AnalyzePartitionCommand =>
      no(
        t,
        "ANALYZE TABLE ... PARTITION",
        "it would write back the partition as it was before a publish meanwhile",
        "nothing: every publish records the rows, files and bytes of its partitions"
      )
    case DropTableCommand(_, _, false, true) =>
      no(
        t,
        "DROP TABLE ... PURGE",
        "files of an sfbatch table stay, with its history",
        s"DROP TABLE ${name(t)}; then delete its directory yourself"
      )
    case drop: DropTableCommand => writable(t); drop
    case AlterTableDropPartitionCommand(_, _, _, true, _) =>
      no(
        t,
        "DROP PARTITION ... PURGE",
        "its files stay, for rollback",
        s"ALTER TABLE ${name(t)} DROP PARTITION (...) without PURGE"
      )
    case AlterTableSetPropertiesCommand(_, properties, false) if properties.keys.exists(kept) =>
      keptProperty(t, properties.keys)
    case AlterTableUnsetPropertiesCommand(_, keys, _, false) if keys.exists(kept) => keptProperty(t, keys)
    case AlterTableDropPartitionCommand(_, specs, ifExists, false, _) =>
      DropPartitionsCommand(t.identifier, specs, ifExists)
    case AlterTableAddColumnsCommand(_, columns) => AddColumnsCommand(t.identifier, columns)
    case AlterTableChangeColumnCommand(_, name, column) => ColumnCommentCommand(t.identifier, name, column)
    case c: AlterTableSetPropertiesCommand => LockedCommand(t.identifier, c)
    case c: AlterTableUnsetPropertiesCommand => LockedCommand(t.identifier, c)
    case c @ AlterTableRenameCommand(_, _, false) => LockedCommand(t.identifier, c)
    case _ => command
  }

  private val onAny: PartialFunction[LogicalPlan, LogicalPlan] = {
    case DropTable(ResolvedIdentifier(catalog, name), _, true)
        if CatalogV2Util.isSessionCatalog(catalog) && ours(name).isDefined =>
      no(
        ours(name).get,
        "DROP TABLE ... PURGE",
        "files of an sfbatch table stay, with its history",
        s"DROP TABLE ${Guards.name(ours(name).get)}; then delete its directory yourself"
      )
    case i: InsertIntoStatement if i.ifPartitionNotExists && oursIn(i.table).isDefined =>
      no(
        oursIn(i.table).get,
        "INSERT OVERWRITE ... IF NOT EXISTS",
        "whether the partition exists is known only at the publish",
        "option expectedBatchId, or leave IF NOT EXISTS out"
      )
    case i: InsertIntoStatement if oursIn(i.table).isDefined && Inserts.laterClauses(i).nonEmpty =>
      no(
        oursIn(i.table).get,
        s"INSERT ... ${Inserts.laterClauses(i).mkString(", ")}",
        "sfbatch does not know this clause of a later Spark",
        "INSERT INTO, INSERT OVERWRITE, or INSERT INTO ... REPLACE WHERE"
      )
    case d: DeleteFromTable if oursIn(d.table).isDefined => rowLevel(oursIn(d.table).get, "DELETE")
    case u: UpdateTable if oursIn(u.table).isDefined => changedRows(oursIn(u.table).get, "UPDATE")
    case m: MergeIntoTable if oursIn(m.targetTable).isDefined => changedRows(oursIn(m.targetTable).get, "MERGE")
    case Cascade(database) if ourTablesIn(database).nonEmpty =>
      throw new SfBatchException(
        "SFBATCH_REFUSED",
        s"DROP DATABASE $database CASCADE: it would delete the files of ${ourTablesIn(database).mkString(", ")}. Instead: DROP TABLE each (their files stay), then DROP DATABASE without CASCADE."
      )
    case FilesIntoOurs(statement, path, root) =>
      throw new SfBatchException(
        "SFBATCH_REFUSED",
        s"$statement into '$path': it would change published files of the sfbatch table at $root. Instead: INSERT INTO that table, or another directory."
      )
    case drop @ DropTable(ResolvedIdentifier(catalog, name), _, false) if CatalogV2Util.isSessionCatalog(catalog) =>
      ours(name).foreach(writable)
      drop
    case CreateTableLikeCommand(to, from, _, provider, properties, _)
        if provider.exists(_.equalsIgnoreCase("sfbatch")) || properties.keys.exists(_.startsWith("sfbatch.")) =>
      throw new SfBatchException(
        "SFBATCH_REFUSED",
        s"CREATE TABLE ${to.unquotedString} LIKE ${from.unquotedString} USING sfbatch: Spark makes it without sfbatch, a table that neither reads nor writes. " +
          s"Instead: CREATE TABLE ${to.unquotedString} USING sfbatch PARTITIONED BY (...) AS SELECT * FROM ${from.unquotedString} WHERE false."
      )
    case r: ReplaceTable if replaced(r.name).isDefined => ParsedGuards.noReplace(replaced(r.name).get)
    case r: ReplaceTableAsSelect if replaced(r.name).isDefined => ParsedGuards.noReplace(replaced(r.name).get)
    case CommentOnTable(ResolvedTable(_, _, v1: V1Table, _), comment) if OurTable.isOurs(v1.catalogTable) =>
      LockedCommand(
        v1.catalogTable.identifier,
        AlterTableSetPropertiesCommand(v1.catalogTable.identifier, Map("comment" -> comment), isView = false)
      )
    case AnalyzeTablesCommand(database, noScan)
        if ourTablesIn(database.getOrElse(session.sessionState.catalog.getCurrentDatabase)).nonEmpty =>
      AnalyzeOthersCommand(database.getOrElse(session.sessionState.catalog.getCurrentDatabase), noScan)
  }

  private object OnTable {
    def unapply(command: RunnableCommand): Option[(RunnableCommand, TableIdentifier)] =
      target(command).map(command -> _)

    private def target(command: RunnableCommand): Option[TableIdentifier] = command match {
      case c: TruncateTableCommand => Some(c.tableName)
      case c: LoadDataCommand => Some(c.table)
      case c: RepairTableCommand => Some(c.tableName)
      case c: AlterTableAddPartitionCommand => Some(c.tableName)
      case c: AlterTableSetLocationCommand => Some(c.tableName)
      case c: AlterTableRenamePartitionCommand => Some(c.tableName)
      case c: AlterTableSerDePropertiesCommand => Some(c.tableName)
      case c: AlterTableDropPartitionCommand => Some(c.tableName)
      case c: AlterTableAddColumnsCommand => Some(c.table)
      case c: AlterTableChangeColumnCommand => Some(c.tableName)
      case c: AlterTableSetPropertiesCommand => Some(c.tableName)
      case c: AlterTableUnsetPropertiesCommand => Some(c.tableName)
      case c: AlterTableRenameCommand => Some(c.oldName)
      case c: AnalyzeTableCommand => Some(c.tableIdent)
      case c: AnalyzeColumnCommand => Some(c.tableIdent)
      case c: AnalyzePartitionCommand => Some(c.tableIdent)
      case c: DropTableCommand => Some(c.tableName)
      case _ => None
    }
  }

  private def writable(t: CatalogTable): Unit =
    WriteDatabases.of(session.sessionState.newHadoopConf()).check(t.database)

  private object Cascade {
    def unapply(command: LogicalPlan): Option[String] = command match {
      case DropDatabaseCommand(database, _, true) => Some(database)
      case d: DropNamespace if d.cascade =>
        d.namespace match {
          case n: ResolvedNamespace if CatalogV2Util.isSessionCatalog(n.catalog) && n.namespace.size == 1 =>
            Some(n.namespace.head)
          case _ => None
        }
      case _ => None
    }
  }

  /** A statement that writes files to a directory, the directory, and the root of the table of ours they would change.
    */
  private object FilesIntoOurs {
    def unapply(statement: LogicalPlan): Option[(String, Path, Path)] = for {
      (name, path, deleted) <- written(statement) if statement.getTagValue(Guards.Clear).isEmpty
      root <- tableAt(path, deleted).orElse { statement.setTagValue(Guards.Clear, ()); None }
    } yield (name, path, root)

    private def written(statement: LogicalPlan): Option[(String, Path, Boolean)] = statement match {
      case d: InsertIntoDir if d.overwrite =>
        d.storage.locationUri.map(uri => ("INSERT OVERWRITE DIRECTORY", new Path(uri), true))
      case CreateTable(description, _, Some(_)) if !description.provider.exists(_.equalsIgnoreCase("sfbatch")) =>
        description.storage.locationUri.map(uri => ("CREATE TABLE ... AS SELECT", new Path(uri), true))
      case i: InsertIntoStatement if i.table.resolved =>
        others(i.table).map(path => ("INSERT of another table", path, i.overwrite))
      case w: InsertIntoHadoopFsRelationCommand if w.catalogTable.isEmpty =>
        Some(("a write of files", w.outputPath, w.mode == SaveMode.Overwrite))
      case _ => None
    }
  }

  private def ours(name: Identifier): Option[CatalogTable] =
    if (name.namespace.length == 1) OurTable.of(session, TableIdentifier(name.name, Some(name.namespace.head)))
    else None

  private def replaced(name: LogicalPlan): Option[CatalogTable] = name match {
    case ResolvedIdentifier(catalog, name) if CatalogV2Util.isSessionCatalog(catalog) => ours(name)
    case _ => None
  }

  private def oursIn(target: LogicalPlan): Option[CatalogTable] = EliminateSubqueryAliases(target) match {
    case HiveTableRelation(table, _, _, _, _) => Some(table).filter(OurTable.isOurs)
    case DataSourceV2Relation(WritableTable(table), _, _, _, _) => Some(table)
    case _ => None
  }

  /** Where another table keeps its files. */
  private def others(target: LogicalPlan): Option[Path] =
    WriteRule
      .target(EliminateSubqueryAliases(target))
      .filterNot(OurTable.isOurs)
      .flatMap(_.storage.locationUri)
      .map(new Path(_))

  private def ourTablesIn(database: String): Seq[String] = {
    val catalog = session.sessionState.catalog
    if (!catalog.databaseExists(database)) Nil
    else
      catalog
        .getTablesByName(catalog.listTables(database, "*", includeLocalTempViews = false))
        .filter(OurTable.isOurs)
        .map(_.identifier.unquotedString)
  }

  /** The table that files written to `path` would change: its root is there or above, or, where what lies at `path` is
    * deleted first, right below.
    */
  private def tableAt(path: Path, deleted: Boolean): Option[Path] = {
    val system = path.getFileSystem(session.sessionState.newHadoopConf())
    def isTable(p: Path) =
      Seq("_sfbatch", "_batches/_sfbatch").exists(d => system.exists(new Path(p, s"$d/owner.json")))
    def above = Iterator.iterate(system.makeQualified(path))(_.getParent).takeWhile(_ != null)
    def below = Try(system.listStatus(path).toSeq).getOrElse(Nil).iterator.collect {
      case child if child.isDirectory && !child.getPath.getName.contains('=') => child.getPath // a=b: a partition
    }
    above.find(isTable).orElse(if (deleted) below.find(isTable) else None)
  }

  private def kept(key: String): Boolean =
    key.startsWith(
      "sfbatch."
    ) || key == "external.table.purge" || key == "EXTERNAL" || key == "clusteringColumns" || key == "auto.purge" || key == "transactional" ||
      TableSpecs.saysHowFilesAreRead(key)

  private def keptProperty(table: CatalogTable, keys: Iterable[String]): Nothing =
    no(
      table,
      s"TBLPROPERTIES ('${keys.filter(kept).mkString("', '")}')",
      "sfbatch keeps these itself, and how published files are read stays",
      s"CREATE TABLE <new> USING sfbatch OPTIONS (...) TBLPROPERTIES ('${Table.FormatName}' = ...) AS SELECT * FROM ${name(table)}"
    )

  private def changedRows(table: CatalogTable, verb: String): Nothing =
    no(
      table,
      verb,
      "files are never changed in place",
      s"INSERT OVERWRITE ${name(table)} SELECT all rows of the partitions concerned, as they shall be"
    )

  private def rowLevel(table: CatalogTable, verb: String): Nothing =
    no(
      table,
      verb,
      "files are never changed in place",
      s"INSERT OVERWRITE ${name(table)} with the rows that are to stay (WHERE (...) IS NOT TRUE keeps those of NULL); a partition of which no row stays: ALTER TABLE ${name(table)} DROP PARTITION (...)"
    )

}

object Guards {

  /** On a statement that writes files where no table of ours is: the analyzer comes by several times, and each look
    * asks the store for every directory above.
    */
  private val Clear = TreeNodeTag[Unit]("sfbatch.clear")

  def name(table: CatalogTable): String = s"${table.database}.${table.identifier.table}"
  def no(table: CatalogTable, statement: String, why: String, instead: String): Nothing =
    throw new SfBatchException("SFBATCH_REFUSED", s"$statement on ${name(table)}: $why. Instead: $instead.")
}
