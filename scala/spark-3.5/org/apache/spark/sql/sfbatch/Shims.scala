package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.parser.ParserInterface

/** What sfbatch needs that Spark 3.5 and 4.0 spell differently; no logic. */
object Shims {
  type Session = org.apache.spark.sql.SparkSession

  trait Parser extends ParserInterface {
    def delegate: ParserInterface
  }
}
