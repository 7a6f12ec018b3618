package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, PartitionStyle, Patient, SfBatchException}
import java.nio.file.{Files, Path, Paths}
import java.time.Instant
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.mapreduce.{Job, JobID, TaskAttemptContext, TaskAttemptID, TaskID, TaskType}
import org.apache.hadoop.mapreduce.lib.output.FileOutputFormat
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl
import org.apache.spark.internal.io.FileNameSpec
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.execution.metric.SQLMetric
import scala.jdk.CollectionConverters._

/** The committer by itself, on a local directory. */
class BatchCommitterSuite extends Patient {
  private val first = BatchId.at(Instant.parse("2016-10-02T00:23:34Z"))
  private val second = first.plusSeconds(1)

  private final class Writer(root: Path, batchId: BatchId) {
    val job: Job = {
      val conf = new Configuration()
      BatchCommitProtocol.configure(conf, new org.apache.hadoop.fs.Path(root.toUri), batchId)
      Job.getInstance(conf)
    }
    FileOutputFormat.setOutputPath(job, new org.apache.hadoop.fs.Path(root.toUri))
    def protocol() =
      new BatchCommitProtocol("uuid-" + batchId, root.toUri.toString, PartitionStyle.Value, Seq("date"), batchId)
    val driver: BatchCommitProtocol = protocol()
    driver.setupJob(job)

    def attempt(task: Int, number: Int): (BatchCommitProtocol, TaskAttemptContext) = {
      val context = new TaskAttemptContextImpl(
        job.getConfiguration,
        new TaskAttemptID(new TaskID(new JobID("20161002", 1), TaskType.MAP, task), number)
      )
      val executor = protocol()
      executor.setupTask(context)
      val file = executor.newTaskTempFile(context, Some("date=20161001"), FileNameSpec("", s"-$number.parquet"))
      val path = Paths.get(new org.apache.hadoop.fs.Path(file).toUri.getPath)
      Files.createDirectories(path.getParent)
      Files.write(path, Array[Byte](1))
      (executor, context)
    }

    /** As Spark's commit of a task, without its coordinator: there is no SparkEnv here. */
    def commit(a: (BatchCommitProtocol, TaskAttemptContext)) = a._1.committed(a._2)
  }

  private def tree(root: Path): Seq[String] = {
    val walk = Files.walk(root)
    try
      walk.iterator.asScala
        .filter(Files.isRegularFile(_))
        .map(root.relativize(_).toString)
        .filterNot(_.endsWith(".crc"))
        .toSeq
        .sorted
    finally walk.close()
  }

  test("only files of committed attempts get into the batch; a late one changes nothing") {
    val root = Files.createTempDirectory("committer")
    val writer = new Writer(root, first)
    val won = writer.attempt(0, 0)
    val lost = writer.attempt(0, 1)
    val late = writer.attempt(1, 2)
    val message = writer.commit(won)
    lost._1.abortTask(lost._2)
    writer.driver.commitJob(writer.job, Seq(message))
    assertEquals(tree(root), Seq(s"20161001/$first/part-00000-uuid-$first-0.parquet"))
    assertEquals(Files.list(root.resolve("_temporary")).count, 0L)
    late._1.abortTask(late._2)
    assertEquals(tree(root).size, 1)
  }

  test("a job that ends, well or badly, leaves the other job's files alone") {
    val root = Files.createTempDirectory("committer")
    val one = new Writer(root, first)
    val two = new Writer(root, second)
    val three = new Writer(root, second.plusSeconds(1))
    val messages = Seq(one.commit(one.attempt(0, 0)))
    val other = two.commit(two.attempt(0, 0))
    three.attempt(0, 0)
    three.driver.abortJob(three.job)
    one.driver.commitJob(one.job, messages)
    two.driver.commitJob(two.job, Seq(other))
    assertEquals(tree(root).map(_.split("/")(1)), Seq(first.value, second.value))
    assertEquals(Files.list(root.resolve("_temporary")).count, 0L)
  }

  test("no file outside the batch directory") {
    val root = Files.createTempDirectory("committer")
    val (executor, context) = new Writer(root, first).attempt(0, 0)
    intercept[UnsupportedOperationException](
      executor.newTaskTempFileAbsPath(context, "/elsewhere", FileNameSpec("", ".parquet"))
    )
    intercept[IllegalArgumentException](
      executor.newTaskTempFile(context, Some("date=1/hour=2"), FileNameSpec("", ".parquet"))
    )
    intercept[IllegalStateException](executor.newFile(Seq("20161001"), "../x"))
  }

  test("a file that is gone when its writer closes it counts as none only if it had no rows") {
    val conf = new org.apache.spark.util.SerializableConfiguration(new Configuration())
    val root = Files.createTempDirectory("committer")
    val counter = new WrittenFiles(conf, PartitionStyle.Value, 0, new SQLMetric("sum"), (_, _) => ()).newTaskInstance()
    val file = s"$root/$first/part-0.parquet"
    counter.newFile(file)
    counter.closeFile(file)
    counter.newRow(file, InternalRow.empty)
    val e = intercept[SfBatchException](counter.closeFile(file))
    assertEquals(e.code, "SFBATCH_FILES_DIFFER", e.getMessage)
  }

  test("distinct batch IDs have distinct attempt directories") {
    val ids = (0 to 100000 by 7).map(i => first.plusSeconds(i.toLong))
    assertEquals(ids.map(BatchCommitProtocol.attempt).distinct.size, ids.size)
  }
}
