package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.parser.ParserInterface
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan

/** What sfbatch needs that Spark 3.5 and 4 spell differently; no logic. */
object Shims {
  type Session = org.apache.spark.sql.SparkSession

  trait Parser extends ParserInterface {
    def delegate: ParserInterface
    protected def parsed(sqlText: String, byDelegate: => LogicalPlan): LogicalPlan
  }
}
