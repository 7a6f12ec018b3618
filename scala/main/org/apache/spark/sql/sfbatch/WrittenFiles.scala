package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{PartitionPath, PartitionStyle, SfBatchException}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.spark.TaskContext
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.execution.datasources.{WriteJobStatsTracker, WriteTaskStats, WriteTaskStatsTracker}
import org.apache.spark.sql.execution.metric.SQLMetric
import org.apache.spark.util.SerializableConfiguration
import scala.collection.mutable

/** One data file of a new batch; `rows` is unknown for a file copied forward. */
final case class WrittenFile(values: Seq[String], name: String, bytes: Long, rows: Option[Long])

/** Counts the files of tasks that committed, and only of those; never lists a directory. */
final class WrittenFiles(
    conf: SerializableConfiguration,
    style: PartitionStyle,
    depth: Int,
    commitTime: SQLMetric,
    @transient onJobCommit: (Seq[WrittenFile], Long) => Unit
) extends WriteJobStatsTracker {

  override def newTaskInstance(): WriteTaskStatsTracker = new WrittenFiles.OfTask(conf.value, style, depth, commitTime)

  override def processStats(stats: Seq[WriteTaskStats], jobCommitTime: Long): Unit =
    onJobCommit(stats.flatMap(_.asInstanceOf[WrittenFiles.Stats].files), jobCommitTime)
}

object WrittenFiles {
  private final case class Stats(files: List[WrittenFile]) extends WriteTaskStats

  private final class OfTask(conf: Configuration, style: PartitionStyle, depth: Int, commitTime: SQLMetric)
      extends WriteTaskStatsTracker {
    private val rows = mutable.HashMap.empty[String, Long]
    private val files = mutable.ListBuffer.empty[WrittenFile]
    // Rows of one file come in a run: the map is touched once a file.
    private var current: String = _
    private var count = 0L

    override def newPartition(partitionValues: InternalRow): Unit = ()
    override def newFile(path: String): Unit = ()

    override def newRow(path: String, row: InternalRow): Unit = {
      if (path ne current) keep(path)
      count += 1
    }

    override def closeFile(path: String): Unit = {
      keep(null)
      val file = new Path(path)
      // A writer without rows may never have made its file.
      val length =
        try Some(MagicCommitter.length(file, conf))
        catch { case _: java.io.FileNotFoundException => None }
      if (length.isEmpty && rows.getOrElse(path, 0L) > 0)
        throw new SfBatchException(
          "SFBATCH_FILES_DIFFER",
          s"$path is gone, though ${rows(path)} rows were written to it: something deletes this job's files, e.g. another job's committer the _temporary directory of the table. " +
            "Nothing was published; check what else writes there and run again."
        )
      length.foreach { bytes =>
        val segments = Iterator.iterate(file.getParent.getParent)(_.getParent).take(depth).map(_.getName).toList.reverse
        files += WrittenFile(
          PartitionPath.fromDirectories(style, segments),
          file.getName,
          bytes,
          Some(rows.getOrElse(path, 0L))
        )
      }
      rows -= path
    }

    override def getFinalStats(taskCommitTime: Long): WriteTaskStats = {
      Option(TaskContext.get()).map(_.taskMetrics().outputMetrics).foreach { metrics =>
        metrics.setBytesWritten(files.map(_.bytes).sum)
        metrics.setRecordsWritten(files.flatMap(_.rows).sum)
      }
      commitTime += taskCommitTime
      Stats(files.toList)
    }

    private def keep(next: String): Unit = {
      if (current != null) rows(current) = rows.getOrElse(current, 0L) + count
      current = next
      count = 0
    }
  }
}
