package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException
import java.util.Locale
import org.apache.spark.sql.AnalysisException
import org.apache.spark.sql.catalyst.catalog.{CatalogTable, HiveTableRelation}
import org.apache.spark.sql.catalyst.plans.logical.{InsertIntoStatement, LogicalPlan, Project}
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.execution.datasources.{DataSourceAnalysis, LogicalRelation, PreprocessTableInsertion}
import org.apache.spark.sql.sfbatch.Shims.Session

/** Replaces Spark's inserts into our tables by [[BatchWriteCommand]]; must leave every other plan as it is.
  *
  * Runs among the resolution rules, as soon as table and query are resolved: later Spark's own rules would turn the
  * statement into a command of theirs, refuse to overwrite a table that is read, or ask for Hive's dynamic partition
  * mode (HiveSessionStateBuilder, 3.5.6).
  */
final case class WriteRule(session: Session) extends Rule[LogicalPlan] {

  override def apply(plan: LogicalPlan): LogicalPlan = plan.resolveOperators {
    case insert: InsertIntoStatement if insert.table.resolved && insert.query.resolved =>
      WriteRule.target(insert.table).filter(OurTable.isOurs).fold[LogicalPlan](insert) { table =>
        insert.query match {
          case Inserts.Carried(Inserts.Carrier(options, strict, _), query) =>
            write(table, withQuery(insert, query), options, strict)
          case _ => write(table, insert, Map.empty, strict = false)
        }
      }
  }

  private def withQuery(insert: InsertIntoStatement, query: LogicalPlan) =
    insert.withNewChildren(Seq(query)).asInstanceOf[InsertIntoStatement]

  private def write(
      table: CatalogTable,
      insert: InsertIntoStatement,
      options: Map[String, String],
      strict: Boolean
  ): LogicalPlan = {
    val parameters = WriteParameters.of(session, options)
    val format = WriteFormat.of(table, parameters.format)
    WriteChecks.noDuplicates(table)
    WriteChecks.storable(table, format)
    if (strict) WriteChecks.sameColumns(table, insert.query)
    val static = for {
      (given, Some(value)) <- insert.partitionSpec
      field <- table.partitionSchema if field.name.equalsIgnoreCase(given)
    } yield field.name.toLowerCase(Locale.ROOT) -> PartitionValues.normalized(field, value)

    val cast = casted(table, insert)
    val query =
      if (static.isEmpty) cast.query
      else
        Project(
          DataSourceAnalysis
            .convertStaticPartitions(cast.query.output, cast.partitionSpec, insert.table.output, table.partitionSchema),
          cast.query
        )
    BatchWriteCommand(
      catalogTable = table,
      query = query,
      outputColumnNames = insert.table.output.map(_.name),
      partitionColumns = query.output.takeRight(table.partitionColumnNames.size),
      staticPartitions = static,
      append = !insert.overwrite,
      parameters = parameters,
      format = format
    )
  }

  /** Spark's own matching of the query's columns with the table's: by position or name, ANSI store assignment, NULL for
    * what is left out.
    */
  private def casted(table: CatalogTable, insert: InsertIntoStatement): InsertIntoStatement =
    try PreprocessTableInsertion(insert).asInstanceOf[InsertIntoStatement]
    catch {
      case e: AnalysisException if !e.isInstanceOf[SfBatchException] =>
        WriteChecks.mismatch(table, e.getMessage.stripSuffix("."), e)
    }
}

object WriteRule {
  def target(table: LogicalPlan): Option[CatalogTable] = table match {
    case hive: HiveTableRelation => Some(hive.tableMeta)
    case source: LogicalRelation => source.catalogTable
    case _ => None
  }
}
