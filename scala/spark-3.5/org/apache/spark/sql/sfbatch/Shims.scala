package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.catalyst.parser.ParserInterface
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.catalyst.rules.Rule

/** What sfbatch needs that Spark 3.5 and 4.0 spell differently; no logic. */
object Shims {
  type Session = org.apache.spark.sql.SparkSession

  /** Spark 3.5 has no rule before its own resolution. */
  val hasEarlyRules = false
  def injectEarlyRule(extensions: SparkSessionExtensions)(rule: Session => Rule[LogicalPlan]): Unit = ()

  trait Parser extends ParserInterface {
    def delegate: ParserInterface
  }
}
