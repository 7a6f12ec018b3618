package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.expressions.Attribute
import org.apache.spark.sql.catalyst.plans.logical.{InsertIntoStatement, LogicalPlan, UnaryNode}

/** Inserts that keep the writer's options, which Spark's own statement has no room for. */
object Inserts {

  /** What Spark 3.5 and 4.0 have of an insert: up to `byName`. */
  private val KnownFields = 7

  /** Clauses of a later Spark (REPLACE USING, WITH SCHEMA EVOLUTION) that nothing here would heed. */
  def unheeded(insert: InsertIntoStatement): Seq[String] = Later.unknown(insert, InsertIntoStatement, KnownFields)

  /** As `insertInto` and SQL: the query's columns in the table's order, partition columns last. */
  def byPosition(
      table: LogicalPlan,
      query: LogicalPlan,
      overwrite: Boolean,
      options: Map[String, String]
  ): LogicalPlan =
    statement(table, Carrier(options, strict = false, query), overwrite, byName = false)

  /** As `save` and `saveAsTable`: each column of the table must be in the query, and no other. */
  def byName(table: LogicalPlan, query: LogicalPlan, overwrite: Boolean, options: Map[String, String]): LogicalPlan =
    statement(table, Carrier(options, strict = true, query), overwrite, byName = true)

  /** Sits on the query (tags get lost: Spark 3.5's `resolveOperatorsDown` does not copy them) until [[WriteRule]] takes
    * it off.
    */
  final case class Carrier(options: Map[String, String], strict: Boolean, child: LogicalPlan) extends UnaryNode {
    override def output: Seq[Attribute] = child.output
    override protected def withNewChildInternal(newChild: LogicalPlan): Carrier = copy(child = newChild)
  }

  private def statement(table: LogicalPlan, query: LogicalPlan, overwrite: Boolean, byName: Boolean): LogicalPlan =
    Later.call( // Spark 4.2 has more fields
      InsertIntoStatement,
      "apply",
      table,
      Map.empty,
      Nil, // columns named by the user
      query,
      overwrite,
      false, // if the partition does not exist
      byName
    )
}
