package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException
import java.util.Locale
import org.apache.spark.sql.SaveMode
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.execution.datasources.CreateTable
import org.apache.spark.sql.sfbatch.Shims.Session

/** `CREATE TABLE ... USING sfbatch`, CTAS and `saveAsTable`; must leave tables of any other provider to Spark. */
final case class CreateTableRule(session: Session) extends Rule[LogicalPlan] {
  override def apply(plan: LogicalPlan): LogicalPlan = plan.resolveOperators {
    case CreateTable(description, _, _)
        if !isSfBatch(description.provider) && description.properties.keys.exists(_.startsWith("sfbatch.")) =>
      throw new SfBatchException(
        "SFBATCH_REFUSED",
        s"CREATE TABLE ${description.identifier.unquotedString} with properties sfbatch.*, as SHOW CREATE TABLE prints them: two tables on one root would mix their rows. " +
          "Instead: CREATE TABLE ... USING sfbatch without them."
      )

    case create @ CreateTable(description, SaveMode.Append, Some(query)) if query.resolved =>
      val partitionBy = Some(description.partitionColumnNames).filter(_.nonEmpty)
      OurTable.of(session, description.identifier) match {
        case Some(table) if !ofAnyTable(description.provider) =>
          // Spark may take it for the table's own format and add to the published files.
          Guards.no(
            table,
            s"saveAsTable in format '${description.provider.getOrElse("")}'",
            "the table has a format of its own",
            s"df.write.insertInto('${Guards.name(table)}'), or .format('sfbatch').mode('append').saveAsTable('${Guards.name(table)}')"
          )
        case Some(table) if description.bucketSpec.isDefined =>
          Guards.no(table, "bucketBy", "sfbatch tables are not bucketed", "leave bucketBy out")
        case Some(table) =>
          SourceRule.insert(table, query, overwrite = false, partitionBy, description.storage.properties)
        case None if isSfBatch(description.provider) => this.create(description, SaveMode.Append, Some(query))
        case None => create
      }

    case CreateTable(description, mode, query) if isSfBatch(description.provider) && query.forall(_.resolved) =>
      create(description, mode, query)
  }

  private def create(description: CatalogTable, mode: SaveMode, query: Option[LogicalPlan]): LogicalPlan =
    CreateTableCommand(
      TableSpecs.of(session, description, query.map(_.schema)),
      mode,
      query,
      WriteParameters.only(description.storage.properties)
    )

  private def isSfBatch(provider: Option[String]): Boolean = provider.exists(_.toLowerCase(Locale.ROOT) == "sfbatch")

  /** `df.write.mode("append").saveAsTable` without `.format(...)` names Spark's default provider; `hive` is how people
    * append to Hive tables.
    */
  private def ofAnyTable(provider: Option[String]): Boolean =
    isSfBatch(provider) || provider.exists(_.equalsIgnoreCase("hive")) ||
      provider.contains(session.sessionState.conf.defaultDataSourceName)
}
