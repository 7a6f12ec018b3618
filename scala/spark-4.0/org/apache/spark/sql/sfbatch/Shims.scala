package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.parser.ParserInterface
import org.apache.spark.sql.types.StructType

/** What sfbatch needs that Spark 3.5 and 4.0 spell differently; no logic. */
object Shims {
  type Session = org.apache.spark.sql.classic.SparkSession

  trait Parser extends ParserInterface {
    def delegate: ParserInterface
    override def parseRoutineParam(sqlText: String): StructType = delegate.parseRoutineParam(sqlText)
  }
}
