package org.apache.spark.sql.catalyst.parser

// The names of two types that Spark 4.1 and 4.3 brought, for Shims to compile on 4.0; build.sbt leaves them out of the jar.
trait ParameterContext
trait SqlStatementSplitResult
