package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{Format, SfBatchException}
import org.apache.spark.sql.Row
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.util.{CharVarcharUtils, ResolveDefaultColumns}
import org.apache.spark.sql.execution.command.{AnalyzeTableCommand, LeafRunnableCommand}
import org.apache.spark.sql.hive.HiveExternalCatalog
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types.{StructField, StructType}
import scala.util.control.NonFatal

/** Statements that rewrite the table object; they must hold the table's lock, as the publish of an unpartitioned table
  * rewrites it too.
  */
sealed trait LockedTable extends SessionCommand {
  def name: TableIdentifier
  protected def change(session: Session, table: CatalogTable): Unit

  override protected def act(session: Session): Seq[Row] = {
    val warehouse = Warehouses.of(session)
    // Read under the lock: what was read before it may be a version older than what a publish has left.
    warehouse.locked(warehouse.table(name.database.get, name.table)) {
      change(session, session.sessionState.catalog.getTableRawMetadata(name))
    }
    CachedReads.refresh(session, name)
    Nil
  }

  /** Spark's own `alterTableDataSchema` would add `spark.sql.sources.schema` properties, which stock tables of ours do
    * not have.
    */
  protected def alterColumns(session: Session, columns: StructType): Unit =
    session.sharedState.externalCatalog.unwrapped match {
      case hive: HiveExternalCatalog =>
        hive.client.alterTableDataSchema(name.database.get, name.table, columns, Map.empty)
      case other =>
        throw new SfBatchException(
          "SFBATCH_UNSUPPORTED",
          s"${other.getClass.getName} is no Hive Metastore; enable Hive support."
        )
    }
}

/** One of Spark's own commands, with the lock held. */
final case class LockedCommand(name: TableIdentifier, command: LeafRunnableCommand) extends LockedTable {
  override protected def change(session: Session, table: CatalogTable): Unit = command.run(session)
}

/** Older batches lack the column: it reads as null there. */
final case class AddColumnsCommand(name: TableIdentifier, columns: Seq[StructField]) extends LockedTable {
  override protected def change(session: Session, table: CatalogTable): Unit = {
    val title = Guards.name(table)
    val format = table.properties.get(_root_.sfbatch.Table.FormatName).flatMap(Format.of).getOrElse(Format.Parquet)
    val added = columns.map { field =>
      if (field.metadata.contains(ResolveDefaultColumns.CURRENT_DEFAULT_COLUMN_METADATA_KEY))
        throw new SfBatchException(
          "SFBATCH_UNSUPPORTED",
          s"$title: column '${field.name}' has a DEFAULT, which no Hive reader knows; write the value in the query."
        )
      val column = TableSpecs.columnOf(title, format, field)
      if (
        (table.schema.map(_.name) ++ columns.filterNot(_ eq field).map(_.name)).exists(_.equalsIgnoreCase(column.name))
      )
        throw new SfBatchException("SFBATCH_BAD_COLUMN", s"$title: column '${column.name}' is there already.")
      field.copy(name = column.name)
    }
    alterColumns(session, StructType(raw(table) ++ added))
  }

  private def raw(table: CatalogTable): StructType = table.dataSchema
}

/** ALTER COLUMN ... COMMENT; another type, name or place is refused. */
final case class ColumnCommentCommand(name: TableIdentifier, columnName: String, column: StructField)
    extends LockedTable {
  override protected def change(session: Session, table: CatalogTable): Unit = {
    def no(why: String) = Guards.no(
      table,
      s"ALTER COLUMN $columnName",
      why,
      s"CREATE TABLE <new> USING sfbatch AS SELECT ... FROM ${Guards.name(table)}"
    )
    if (table.partitionSchema.exists(_.name.equalsIgnoreCase(columnName))) no("a partition column cannot be altered")
    val old = table.dataSchema
      .find(_.name.equalsIgnoreCase(columnName))
      .getOrElse(
        throw new SfBatchException(
          "SFBATCH_BAD_COLUMN",
          s"${Guards.name(table)} has no column '$columnName': ${table.schema.map(_.name).mkString(", ")}."
        )
      )
    val declared = CharVarcharUtils.getRawType(old.metadata).getOrElse(old.dataType)
    if (!column.name.equalsIgnoreCase(old.name) || !Seq(old.dataType, declared).contains(column.dataType))
      no("only its comment can change: published files keep their columns' names and types")
    if (column.metadata.contains(ResolveDefaultColumns.CURRENT_DEFAULT_COLUMN_METADATA_KEY))
      no("a default is known to no Hive reader")
    alterColumns(
      session,
      StructType(table.dataSchema.map(f => if (f eq old) column.getComment().fold(f)(f.withComment) else f))
    )
  }
}

/** ANALYZE TABLES: all but ours. */
final case class AnalyzeOthersCommand(database: String, noScan: Boolean) extends SessionCommand {
  override protected def act(session: Session): Seq[Row] = {
    session.sessionState.catalog.listTables(database).filter(OurTable.of(session, _).isEmpty).foreach { table =>
      try AnalyzeTableCommand(table, noScan).run(session)
      catch { case NonFatal(e) => logWarning(s"ANALYZE TABLE $table failed", e) }
    }
    Nil
  }
}
