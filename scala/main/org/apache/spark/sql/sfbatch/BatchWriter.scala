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
    FileFormatWriter.write(
      sparkSession = session,
      plan = plan,
      fileFormat = WriteFormat.configure(session, format, catalogTable, conf),
      committer = BatchCommitProtocol(table, batchId, UUID.randomUUID.toString),
      outputSpec = FileFormatWriter.OutputSpec(table.root.toString, Map.empty, columns),
      hadoopConf = conf,
      partitionColumns = partitionColumns,
      bucketSpec = None,
      statsTrackers = Seq(
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
      options = format.options ++ maxRecordsPerFile.map("maxRecordsPerFile" -> _.toString),
      numStaticPartitionCols = static
    )
    files
  }
}
