package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, Table}
import java.util.UUID
import org.apache.hadoop.conf.Configuration
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.expressions.Attribute
import org.apache.spark.sql.execution.SparkPlan
import org.apache.spark.sql.execution.datasources.FileFormatWriter
import org.apache.spark.sql.execution.metric.SQLMetric
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.util.SerializableConfiguration

/** Rows to files of a batch, by Spark's own writer and our committer; must count only what committed tasks wrote. */
final class BatchWriter(
    session: Session,
    table: Table,
    catalogTable: CatalogTable,
    format: WriteFormat,
    maxRecordsPerFile: Option[Long],
    metrics: Map[String, SQLMetric]
) {
  def configuration(batchId: BatchId): Configuration = {
    val conf = session.sessionState.newHadoopConfWithOptions(format.options)
    BatchCommitProtocol.configure(conf, table.root, batchId)
    conf
  }

  def write(
      plan: SparkPlan,
      batchId: BatchId,
      columns: Seq[Attribute],
      partitionColumns: Seq[Attribute],
      static: Int
  ): Seq[WrittenFile] = {
    var files: Seq[WrittenFile] = Nil
    val conf = configuration(batchId)
    Later.call[Set[String]]( // Spark 4.0.5 and 4.1 have one parameter more than 4.0.4
      FileFormatWriter,
      "write",
      session,
      plan,
      WriteFormat.configure(session, format, catalogTable, conf),
      BatchCommitProtocol(table, batchId, UUID.randomUUID.toString),
      FileFormatWriter.OutputSpec(table.root.toString, Map.empty, columns),
      conf,
      partitionColumns,
      None, // no buckets
      Seq(
        new WrittenFiles(
          new SerializableConfiguration(conf),
          table.style,
          table.partitionColumns.size,
          metrics(BatchMetrics.TaskCommitTime),
          (written, jobCommitTime) => {
            files = written
            metrics(BatchMetrics.JobCommitTime).add(jobCommitTime)
          }
        )
      ),
      format.options ++ maxRecordsPerFile.map("maxRecordsPerFile" -> _.toString),
      static
    )
    files
  }
}
