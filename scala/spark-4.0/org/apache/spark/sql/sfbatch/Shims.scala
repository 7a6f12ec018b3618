package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.catalyst.parser.ParserInterface
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.types.StructType

/** What sfbatch needs that Spark 3.5 and 4.0 spell differently; no logic. */
object Shims {
  type Session = org.apache.spark.sql.classic.SparkSession

  val hasEarlyRules = true
  def injectEarlyRule(extensions: SparkSessionExtensions)(rule: Session => Rule[LogicalPlan]): Unit =
    extensions.injectHintResolutionRule(session => rule(session.asInstanceOf[Session]))

  trait Parser extends ParserInterface {
    def delegate: ParserInterface
    override def parseRoutineParam(sqlText: String): StructType = delegate.parseRoutineParam(sqlText)
  }
}
