package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, PartitionPath, S3aCopies, SfBatchException, Store, Table}
import java.io.FileNotFoundException
import java.util.{Date, UUID}
import java.util.concurrent.ConcurrentLinkedQueue
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileStatus, Path}
import org.apache.hadoop.io.IOUtils
import org.apache.hadoop.mapreduce.{Job, TaskAttemptContext, TaskAttemptID, TaskID, TaskType}
import org.apache.hadoop.mapreduce.lib.output.FileOutputFormat
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl
import org.apache.spark.{SparkContext, TaskContext}
import org.apache.spark.internal.io.FileCommitProtocol.TaskCommitMessage
import org.apache.spark.internal.io.SparkHadoopWriterUtils
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.util.SerializableConfiguration
import scala.collection.JavaConverters._
import scala.reflect.ClassTag

/** Files of batches that exist, and their copies into another batch: bytes and names unchanged; must never touch the
  * originals.
  */
final class BatchFiles(session: Session, table: Table, conf: Configuration) {
  import BatchFiles.{BytesPerTask, Existing}

  /** The data files of one partition's location; hidden ones (`_`, `.`) are no data. One listing.
    *
    * @throws SfBatchException
    *   SFBATCH_CONFLICT where directories below hold files: Spark's readers pass them by or fail, Hive's may read them
    */
  def list(values: Seq[String], location: Path): Seq[Existing] = {
    val (directories, files) = shown(location).partition(_.isDirectory)
    directories.map(_.getPath).find(holdsFiles).foreach { directory =>
      throw new SfBatchException(
        "SFBATCH_CONFLICT",
        s"$table: an append to ${PartitionValues.show(table.partitionColumns, values)} would have to carry along the files of $location, but $directory holds files too, " +
          "which some readers see and others do not. Nothing was published. Move that directory elsewhere, or INSERT OVERWRITE the partition."
      )
    }
    files.map(BatchFiles.existing(values, _))
  }

  private def holdsFiles(directory: Path): Boolean =
    shown(directory).exists(f => f.isFile || holdsFiles(f.getPath))

  private def shown(directory: Path): Seq[FileStatus] = {
    val found =
      try directory.getFileSystem(conf).listStatus(directory).toSeq
      catch { case _: FileNotFoundException => Nil }
    found.filterNot(f => f.getPath.getName.startsWith("_") || f.getPath.getName.startsWith("."))
  }

  def ofBatch(batchId: BatchId, files: Seq[WrittenFile]): Seq[Existing] =
    files.map(f =>
      Existing(f.values, new Path(PartitionPath.batch(table, f.values, batchId), f.name).toString, f.bytes)
    )

  /** S3 copies within a bucket itself; everything else Spark's tasks do, through the same committer as every other file
    * of a batch.
    */
  def copy(files: Seq[Existing], batchId: BatchId): Unit = {
    val fs = table.root.getFileSystem(conf)
    if (Store.isS3a(fs)) {
      val s3 = new S3aCopies(fs)
      val (within, through) = files.partition(f => s3.canCopy(new Path(f.path), f.bytes))
      copyByTasks(through ++ copyByS3(s3, within, batchId), batchId)
    } else copyByTasks(files, batchId)
  }

  /** By tasks, so that the work is seen, and ends, as every other job; what S3 could not copy. */
  private def copyByS3(s3: S3aCopies, files: Seq[Existing], batchId: BatchId): Seq[Existing] =
    if (files.isEmpty) Nil
    else {
      val asked = files.map { file =>
        val name = new Path(file.path).getName
        S3aCopies.OneFile(
          file.path,
          new Path(PartitionPath.batch(table, file.values, batchId), name).toString,
          file.bytes
        )
      }
      val (root, serializable) = (table.root.toString, new SerializableConfiguration(conf))
      val begun = new ConcurrentLinkedQueue[Either[S3aCopies.OneFile, S3aCopies.Upload]]
      def uploads = begun.asScala.toSeq.collect { case Right(upload) => upload }
      try {
        run(asked, (asked.size + 15) / 16)((task, part) =>
          new S3aCopies(new Path(root).getFileSystem(serializable.value)).begin(part)(task.killTaskIfInterrupted())
        )(_.foreach(begun.add(_)))
        s3.close(uploads)
      } catch { case failure: Throwable => s3.giveUp(uploads, failure); throw failure }
      val refused = begun.asScala.collect { case Left(file) => file.source }.toSet
      files.filter(f => refused(f.path))
    }

  private def copyByTasks(files: Seq[Existing], batchId: BatchId): Unit =
    if (files.nonEmpty) {
      val jobConf = new Configuration(conf)
      BatchCommitProtocol.configure(jobConf, table.root, batchId)
      val job = Job.getInstance(jobConf)
      FileOutputFormat.setOutputPath(job, table.root)
      val protocol = BatchCommitProtocol(table, batchId, UUID.randomUUID.toString)
      protocol.setupJob(job)
      try {
        val (tracker, serializable) =
          (SparkHadoopWriterUtils.createJobTrackerID(new Date), new SerializableConfiguration(job.getConfiguration))
        val tasks = math.max(session.sparkContext.defaultParallelism.toLong, files.map(_.bytes).sum / BytesPerTask)
        val commits = new ConcurrentLinkedQueue[TaskCommitMessage]
        run(files, math.min(files.size.toLong, tasks).toInt)((task, part) =>
          BatchFiles.copyTask(task, part, protocol, serializable.value, tracker)
        ) { answer => commits.add(answer); () }
        protocol.commitJob(job, commits.asScala.toSeq)
      } catch { case failure: Throwable => protocol.abortJob(job); throw failure }
    }

  private def run[A: ClassTag, B: ClassTag](files: Seq[A], tasks: Int)(copy: (TaskContext, List[A]) => B)(
      ended: B => Unit
  ): Unit = {
    val context = session.sparkContext
    val before = context.getLocalProperty(SparkContext.SPARK_JOB_DESCRIPTION)
    context.setJobDescription(s"$table: copying ${files.size} files forward")
    try {
      val rdd = context.parallelize(files, tasks)
      val body = (task: TaskContext, part: Iterator[A]) => copy(task, part.toList)
      context.runJob(rdd, body, rdd.partitions.indices, (_: Int, answer: B) => ended(answer))
    } finally context.setJobDescription(before)
  }
}

object BatchFiles {
  private val BytesPerTask = 256L << 20

  final case class Existing(values: Seq[String], path: String, bytes: Long)

  private def existing(values: Seq[String], file: FileStatus): Existing =
    Existing(values, file.getPath.toString, file.getLen)

  private def copyTask(
      task: TaskContext,
      files: List[Existing],
      protocol: BatchCommitProtocol,
      conf: Configuration,
      tracker: String
  ): TaskCommitMessage = {
    val context = attempt(task, conf, tracker)
    protocol.setupTask(context)
    try {
      files.foreach { file =>
        val source = new Path(file.path)
        val target = new Path(protocol.newFile(file.values, source.getName))
        val in = source.getFileSystem(conf).open(source)
        try IOUtils.copyBytes(in, target.getFileSystem(conf).create(target, false), 1 << 20, true)
        finally in.close()
      }
      protocol.commitTask(context)
    } catch { case failure: Throwable => protocol.abortTask(context); throw failure }
  }

  /** As Spark's `FileFormatWriter.executeTask` (3.5.6, 4.0.2) names its attempts. */
  private def attempt(task: TaskContext, conf: Configuration, tracker: String): TaskAttemptContext = {
    val jobId = SparkHadoopWriterUtils.createJobID(tracker, task.stageId())
    val id = new TaskAttemptID(
      new TaskID(jobId, TaskType.MAP, task.partitionId()),
      task.taskAttemptId().toInt & Integer.MAX_VALUE
    )
    val own = new Configuration(conf)
    own.set("mapreduce.job.id", jobId.toString)
    own.set("mapreduce.task.id", id.getTaskID.toString)
    own.set("mapreduce.task.attempt.id", id.toString)
    own.setBoolean("mapreduce.task.ismap", true)
    own.setInt("mapreduce.task.partition", 0)
    new TaskAttemptContextImpl(own, id)
  }
}
