package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.parser.{ParameterContext, ParserInterface, SqlStatementSplitResult}
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.types.StructType

/** What sfbatch needs that Spark 3.5 and 4 spell differently; no logic. */
object Shims {
  type Session = org.apache.spark.sql.classic.SparkSession

  trait Parser extends ParserInterface {
    def delegate: ParserInterface
    protected def parsed(sqlText: String, byDelegate: => LogicalPlan): LogicalPlan
    override def parseRoutineParam(sqlText: String): StructType = delegate.parseRoutineParam(sqlText)

    /** From Spark 4.1 on; what Spark has for a parser without it forgets the parameters. */
    def parsePlanWithParameters(sqlText: String, parameters: ParameterContext): LogicalPlan =
      parsed(sqlText, Later.callOf[LogicalPlan](classOf[ParserInterface], delegate, "parsePlanWithParameters", sqlText, parameters))

    /** From Spark 4.3 on, for its command line. */
    def splitStatements(sqlText: String): SqlStatementSplitResult =
      Later.callOf[SqlStatementSplitResult](classOf[ParserInterface], delegate, "splitStatements", sqlText)
  }
}
