package org.apache.spark.sql.sfbatch

import java.util.Locale
import org.apache.spark.sql.catalyst.expressions.{Attribute, Expression}
import org.apache.spark.sql.catalyst.plans.logical.{InsertIntoStatement, LogicalPlan, UnaryNode, WithCTE}

/** Inserts that keep the writer's options, which Spark's own statement has no room for. */
object Inserts {

  /** What Spark 3.5 and 4.0 have of an insert: up to `byName`. */
  private val KnownFields = 7

  /** Clauses of a later Spark (REPLACE USING, WITH SCHEMA EVOLUTION), which nothing here heeds by itself. */
  def laterClauses(insert: InsertIntoStatement): Seq[String] =
    Later.unknown(insert, InsertIntoStatement, KnownFields).map {
      case "replaceCriteriaOpt" => inWords(replaced(insert).getClass.getSimpleName.stripPrefix("Insert"))
      case name => inWords(name)
    }

  private def replaced(insert: InsertIntoStatement): AnyRef =
    Later.call[Option[AnyRef]](insert, "replaceCriteriaOpt").get

  private def inWords(name: String): String = name.replaceAll("(?<=[a-z])(?=[A-Z])", " ").toUpperCase(Locale.ROOT)

  /** The condition of INSERT ... REPLACE WHERE where it is a clause of the statement (Spark 4.3.0; up to 4.1 it is
    * parsed to an OverwriteByExpression), if no other clause stands beside it that nothing here would heed.
    */
  def replaceWhere(insert: InsertIntoStatement): Option[Expression] =
    if (laterClauses(insert) == Seq("REPLACE WHERE")) Some(Later.call(replaced(insert), "cond")) else None

  /** The insert as one that overwrites, without the clauses of a later Spark. */
  def overwriting(insert: InsertIntoStatement, options: Map[String, String]): LogicalPlan =
    statement(
      insert.table,
      Carrier(options, strict = false, insert.query),
      overwrite = true,
      insert.byName,
      insert.partitionSpec,
      insert.userSpecifiedCols
    )

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

  /** The carrier on a query, and the query without it: Spark lays a WITH's definitions around what it finds. */
  object Carried {
    def unapply(query: LogicalPlan): Option[(Carrier, LogicalPlan)] = query match {
      case carrier: Carrier => Some((carrier, carrier.child))
      case w: WithCTE => unapply(w.plan).map { case (carrier, plan) => (carrier, w.withNewPlan(plan)) }
      case _ => None
    }
  }

  private def statement(
      table: LogicalPlan,
      query: LogicalPlan,
      overwrite: Boolean,
      byName: Boolean,
      partitionSpec: Map[String, Option[String]] = Map.empty,
      userSpecifiedCols: Seq[String] = Nil
  ): LogicalPlan =
    Later.call( // Spark 4.2 has more fields
      InsertIntoStatement,
      "apply",
      table,
      partitionSpec,
      userSpecifiedCols,
      query,
      overwrite,
      false, // if the partition does not exist
      byName
    )
}
