package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{DefaultSource, Errors, SfBatchException, Table, TableByName}
import java.util.Locale
import org.apache.spark.sql.SaveMode
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.analysis.UnresolvedRelation
import org.apache.spark.sql.catalyst.catalog.{CatalogStorageFormat, CatalogTable, CatalogTableType}
import org.apache.spark.sql.catalyst.plans.logical.{LocalRelation, LogicalPlan}
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.catalyst.util.CaseInsensitiveMap
import org.apache.spark.sql.execution.datasources.{
  CreateTable,
  DataSourceUtils,
  LogicalRelation,
  SaveIntoDataSourceCommand
}
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types.StructType

/** `format("sfbatch")`: a load becomes the table's stock plan, a save the same insert or CREATE TABLE AS SELECT that
  * SQL would be.
  */
final case class SourceRule(session: Session) extends Rule[LogicalPlan] {

  override def apply(plan: LogicalPlan): LogicalPlan = plan.resolveOperators {
    case source: LogicalRelation if source.relation.isInstanceOf[TableByName] =>
      UnresolvedRelation(NamedTable.ofRead(session, source.relation.asInstanceOf[TableByName].parameters).nameParts)
    case save: SaveIntoDataSourceCommand if save.dataSource.isInstanceOf[DefaultSource] =>
      this.save(save.options match {
        case lowered: CaseInsensitiveMap[String] =>
          save.copy(options = lowered.originalMap) // as the user spelled them, for messages
        case _ => save
      })
  }

  private def save(save: SaveIntoDataSourceCommand): LogicalPlan = {
    val catalog = session.sessionState.catalog
    val name = NamedTable.of(session, save.options)
    if (!catalog.databaseExists(name.database.get)) throw Errors.unknownDatabase(name.database.get)
    val exists = catalog.tableExists(name)
    save.mode match {
      case SaveMode.Ignore if exists => LocalRelation(Nil)
      case SaveMode.ErrorIfExists if exists =>
        throw new SfBatchException(
          "SFBATCH_TABLE_EXISTS",
          s"${name.unquotedString} exists. Use mode append, overwrite or ignore."
        )
      case mode if exists =>
        SourceRule.insert(
          catalog.getTableMetadata(name),
          save.query,
          mode == SaveMode.Overwrite,
          partitionBy(save),
          save.options
        )
      case _ => create(name, save)
    }
  }

  private def create(name: TableIdentifier, save: SaveIntoDataSourceCommand): LogicalPlan = {
    val properties = save.options.filterNot { case (key, _) =>
      SourceRule.addressing(key.toLowerCase(Locale.ROOT))
    }
    CreateTable(
      Later.call[CatalogTable]( // Spark 4.2 has more fields in both
        CatalogTable,
        "apply",
        name,
        CatalogTableType.EXTERNAL,
        Later.call[CatalogStorageFormat](CatalogStorageFormat, "apply", None, None, None, None, false, properties),
        new StructType,
        Some("sfbatch"),
        partitionBy(save).getOrElse(Nil)
      ),
      save.mode,
      Some(save.query)
    )
  }

  private def partitionBy(save: SaveIntoDataSourceCommand): Option[Seq[String]] =
    save.options.get(DataSourceUtils.PARTITIONING_COLUMNS_KEY).map(DataSourceUtils.decodePartitioningColumns)
}

object SourceRule {
  private val addressing = Set("path", "table", DataSourceUtils.PARTITIONING_COLUMNS_KEY)
  private val tableOptions = Map("format" -> Table.FormatName, "partition-style" -> Table.Style)

  /** `save` and `saveAsTable` into a table that exists; what they say of the table itself must be so. */
  def insert(
      table: CatalogTable,
      query: LogicalPlan,
      overwrite: Boolean,
      partitionBy: Option[Seq[String]],
      options: Map[String, String]
  ): LogicalPlan = {
    val title = table.identifier.unquotedString
    if (!OurTable.isOurs(table)) throw Errors.notOurs(title, table.tableType == CatalogTableType.VIEW, table.provider)
    partitionBy.foreach { wanted =>
      if (lower(wanted) != lower(table.partitionColumnNames))
        throw new SfBatchException(
          "SFBATCH_PARTITION_MISMATCH",
          s"$title is partitioned by (${table.partitionColumnNames.mkString(", ")}), not (${wanted.mkString(", ")}). Leave partitionBy out, or name these."
        )
    }
    val (ofTable, ofWrite) = options.partition { case (key, _) => tableOptions.contains(key.toLowerCase(Locale.ROOT)) }
    ofTable.foreach { case (key, value) =>
      val property = tableOptions(key.toLowerCase(Locale.ROOT))
      val present = table.properties.getOrElse(property, "")
      if (!present.equalsIgnoreCase(value))
        throw new SfBatchException(
          "SFBATCH_BAD_OPTION",
          s"$title: $key = '$value', but the table has '$present', for good. Leave the option out."
        )
    }
    Inserts.byName(UnresolvedRelation(table.identifier), query, overwrite, ofWrite)
  }

  private def lower(names: Seq[String]): Seq[String] = names.map(_.toLowerCase(Locale.ROOT))
}
