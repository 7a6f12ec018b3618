package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.plans.logical.{InsertIntoStatement, LogicalPlan}
import org.apache.spark.sql.catalyst.trees.TreeNodeTag

/** Inserts that keep the writer's options, which Spark's own statement has no room for. */
object Inserts {
  private val optionsTag = TreeNodeTag[Map[String, String]]("sfbatch.options")
  private val strictTag = TreeNodeTag[Unit]("sfbatch.strict")

  /** As `insertInto` and SQL: the query's columns in the table's order, partition columns last. */
  def byPosition(table: LogicalPlan, query: LogicalPlan, overwrite: Boolean, options: Map[String, String]): LogicalPlan = {
    val insert = statement(table, query, overwrite, byName = false)
    insert.setTagValue(optionsTag, options)
    insert
  }

  /** As `save` and `saveAsTable`: each column of the table must be in the query, and no other. */
  def byName(table: LogicalPlan, query: LogicalPlan, overwrite: Boolean, options: Map[String, String]): LogicalPlan = {
    val insert = statement(table, query, overwrite, byName = true)
    insert.setTagValue(optionsTag, options)
    insert.setTagValue(strictTag, ())
    insert
  }

  def options(insert: InsertIntoStatement): Map[String, String] = insert.getTagValue(optionsTag).getOrElse(Map.empty)
  def isStrict(insert: InsertIntoStatement): Boolean = insert.getTagValue(strictTag).isDefined

  private def statement(table: LogicalPlan, query: LogicalPlan, overwrite: Boolean, byName: Boolean): InsertIntoStatement =
    InsertIntoStatement(
      table = table,
      partitionSpec = Map.empty,
      userSpecifiedCols = Nil,
      query = query,
      overwrite = overwrite,
      ifPartitionNotExists = false,
      byName = byName
    )
}
