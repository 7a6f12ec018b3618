package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException

/** An error of ours raised in a task reaches the user as itself, not wrapped in Spark's report of a failed stage. */
object SparkFailure {
  def unwrapped[T](body: => T): T =
    try body
    catch {
      case failure: Exception =>
        throw Iterator
          .iterate[Throwable](failure)(_.getCause)
          .takeWhile(_ != null)
          .take(20)
          .collectFirst { case ours: SfBatchException => ours }
          .getOrElse(failure)
    }
}
