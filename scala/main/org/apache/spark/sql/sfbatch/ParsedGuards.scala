package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException
import java.util.Locale
import org.apache.spark.sql.catalyst.analysis.{UnresolvedIdentifier, UnresolvedRelation, UnresolvedTable}
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.sfbatch.Shims.Session

/** What Spark's own resolution of a parsed statement would refuse before any rule of ours is asked; must leave other
  * tables alone.
  *
  * The parser asks: Spark 3.5 has no rule before resolution, and 4.0's (`injectHintResolutionRule`) is not run in
  * sessions with Hive (HiveSessionStateBuilder, 4.0.2).
  */
object ParsedGuards {
  def rewrite(session: Session, plan: LogicalPlan): LogicalPlan = {
    def ours(parts: Seq[String]): Option[CatalogTable] = OurTable.of(session, parts)
    def no(table: CatalogTable, statement: String) =
      Guards.no(
        table,
        statement,
        "published files keep their columns",
        s"ADD COLUMNS, or CREATE TABLE <new> USING sfbatch AS SELECT ... FROM ${Guards.name(table)}"
      )

    plan.resolveOperatorsDown {
      case r @ ReplaceTable(UnresolvedIdentifier(parts, _), _, _, spec, _) =>
        replace(ours(parts), parts, spec.provider).getOrElse(r)
      case r @ ReplaceTableAsSelect(UnresolvedIdentifier(parts, _), _, _, spec, _, _, _) =>
        replace(ours(parts), parts, spec.provider).getOrElse(r)
      case r @ RenameColumn(UnresolvedTable(parts, _, _), _, _) =>
        ours(parts).fold[LogicalPlan](r)(no(_, "RENAME COLUMN"))
      case r @ DropColumns(UnresolvedTable(parts, _, _), _, _) => ours(parts).fold[LogicalPlan](r)(no(_, "DROP COLUMN"))
      case r @ ReplaceColumns(UnresolvedTable(parts, _, _), _) =>
        ours(parts).fold[LogicalPlan](r)(no(_, "REPLACE COLUMNS"))
      case replace: OverwriteByExpression => // INSERT ... REPLACE WHERE up to Spark 4.1
        replace.table match {
          case relation: UnresolvedRelation if ours(relation.multipartIdentifier).isDefined =>
            WriteTo.replacing(relation, replace)
          case _ => replace
        }
      case insert: InsertIntoStatement =>
        (insert.table, Inserts.replaceWhere(insert)) match {
          case (relation: UnresolvedRelation, Some(condition)) if ours(relation.multipartIdentifier).isDefined =>
            Inserts.overwriting(insert, WriteTo.replaceWhere(condition))
          case _ => insert
        }
    }
  }

  private def replace(
      table: Option[CatalogTable],
      parts: Seq[String],
      provider: Option[String]
  ): Option[LogicalPlan] = {
    table.foreach(noReplace)
    if (provider.exists(_.toLowerCase(Locale.ROOT) == "sfbatch"))
      throw new SfBatchException(
        "SFBATCH_REFUSED",
        s"REPLACE TABLE ${parts.mkString(".")} USING sfbatch: an sfbatch table is never replaced. Instead: CREATE TABLE IF NOT EXISTS, then INSERT OVERWRITE."
      )
    None
  }

  def noReplace(table: CatalogTable): Nothing =
    Guards.no(
      table,
      "REPLACE TABLE",
      "it would drop the table and its history",
      "INSERT OVERWRITE, or DROP TABLE and CREATE TABLE at another location"
    )
}
