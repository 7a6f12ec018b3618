package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{Outcome, Table, Written}
import org.apache.spark.SparkContext
import org.apache.spark.internal.Logging
import org.apache.spark.sql.execution.SQLExecution
import org.apache.spark.sql.execution.metric.{SQLMetric, SQLMetrics}
import org.apache.spark.sql.sfbatch.Shims.Session

/** What the SQL tab and the log tell of a write. */
object BatchMetrics extends Logging {
  val TaskCommitTime = "taskCommitTime"
  val JobCommitTime = "jobCommitTime"
  val BytesCopied = "numBytesCopied"
  private val Files = "numFiles"
  private val Bytes = "numOutputBytes"
  private val Rows = "numOutputRows"
  private val Partitions = "numParts"

  def create: Map[String, SQLMetric] = {
    val context = SparkContext.getActive.get
    Map(
      Files -> SQLMetrics.createMetric(context, "files of the new batches"),
      Bytes -> SQLMetrics.createSizeMetric(context, "size of the new batches"),
      Rows -> SQLMetrics.createMetric(context, "rows of the new batches"),
      Partitions -> SQLMetrics.createMetric(context, "partitions changed"),
      BytesCopied -> SQLMetrics.createSizeMetric(context, "copied forward"),
      TaskCommitTime -> SQLMetrics.createTimingMetric(context, "task commit time"),
      JobCommitTime -> SQLMetrics.createTimingMetric(context, "job commit time")
    )
  }

  def report(
      session: Session,
      metrics: Map[String, SQLMetric],
      table: Table,
      written: Seq[Written],
      outcome: Outcome
  ): Unit = {
    val changed = outcome match {
      case Outcome.Published(version, partitions) =>
        version match {
          case Some(number) => logInfo(s"$table: version $number, $partitions partitions changed")
          case None => logWarning(s"$table: nothing changed: the write had no rows, and declared no partition")
        }
        metrics(Files).set(written.map(_.files).sum)
        metrics(Bytes).set(written.map(_.bytes).sum)
        metrics(Rows).set(written.flatMap(_.rows).sum)
        partitions
      case Outcome.AlreadyPublished(txn) =>
        // Not by the log, which notebooks turn down: who made a mistake with the number would take it for written.
        Console.err.println(
          s"sfbatch: $table: nothing was written, version ${txn.version} of txn '${txn.appId}' is published already (a rollback does not take that back; a higher txnVersion is written)."
        )
        0
      case other => throw new IllegalStateException(other.toString)
    }
    metrics(Partitions).set(changed.toLong)
    val context = session.sparkContext
    SQLMetrics.postDriverMetricUpdates(
      context,
      context.getLocalProperty(SQLExecution.EXECUTION_ID_KEY),
      metrics.values.toSeq
    )
  }
}
