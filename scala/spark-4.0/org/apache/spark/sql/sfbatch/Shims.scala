package org.apache.spark.sql.sfbatch

/** What the write path needs that Spark 3.5 and 4.0 spell differently; no logic. */
object Shims {
  type Session = org.apache.spark.sql.classic.SparkSession
}
