package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, PartitionPath, PartitionStyle, SfBatchException, Store, Table}
import java.io.IOException
import java.nio.charset.StandardCharsets.UTF_8
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.mapreduce.{JobContext, OutputCommitter, TaskAttemptContext}
import org.apache.hadoop.mapreduce.lib.output.PathOutputCommitter
import org.apache.spark.internal.io.{FileCommitProtocol, FileNameSpec, HadoopMapReduceCommitProtocol}
import org.apache.spark.internal.io.FileCommitProtocol.TaskCommitMessage
import scala.collection.mutable

/** Where a batch's files lie while they are written, and how they get into the batch directory; a file no committed
  * task named must never.
  *
  * Spark asks for a file in `date=20161001`; it gets one that will end as `<root>/20161001/<batch id>/part-...`.
  */
final class BatchCommitProtocol(
    jobId: String,
    root: String,
    style: PartitionStyle,
    partitionColumns: Seq[String],
    batchId: BatchId
) extends HadoopMapReduceCommitProtocol(jobId, root, false) {
  import BatchCommitProtocol.Committed

  @transient private var committer: PathOutputCommitter = _
  @transient private var store: Store = _
  @transient private var files: mutable.ArrayBuffer[String] = _

  override protected def setupCommitter(context: TaskAttemptContext): OutputCommitter = {
    val path = new Path(root)
    committer =
      if (MagicCommitter.isFor(path, context.getConfiguration)) MagicCommitter(path, batchId, context)
      else new BatchCommitter(path, context)
    committer
  }

  override def setupTask(context: TaskAttemptContext): Unit = {
    super.setupTask(context)
    files = mutable.ArrayBuffer.empty
    store = Store.of(new Path(root), context.getConfiguration)
  }

  override def newTaskTempFile(context: TaskAttemptContext, directory: Option[String], name: FileNameSpec): String =
    newFile(directory.toSeq.flatMap(PartitionPath.values), getFilename(context, name))

  /** The temporary path of file `name` of the partition `values`. */
  def newFile(values: Seq[String], name: String): String = {
    BatchCommitProtocol.checkValues(partitionColumns, values)
    val partition = PartitionPath.directory(style, partitionColumns, values)
    val relative = if (partition.isEmpty) s"${batchId.value}/$name" else s"$partition/${batchId.value}/$name"
    val segments = relative.split("/", -1)
    if (segments.length != partitionColumns.size + 2 || segments.exists(s => s.isEmpty || s == "." || s == ".."))
      throw new IllegalStateException(s"'$relative' is not ${partitionColumns.size + 1} directories deep")
    files += relative
    val file = new Path(committer.getWorkPath, relative)
    if (committer.isInstanceOf[BatchCommitter]) store.makeDirectory(file.getParent)
    file.toString
  }

  override def newTaskTempFileAbsPath(context: TaskAttemptContext, directory: String, name: FileNameSpec): String =
    throw new UnsupportedOperationException(s"$root: a file outside the batch directory was asked for: $directory")

  override def commitTask(context: TaskAttemptContext): TaskCommitMessage = {
    super.commitTask(context) // asks Spark's coordinator: one attempt of a task may commit
    named(context)
  }

  private[sfbatch] def named(context: TaskAttemptContext): TaskCommitMessage = committer match {
    case renaming: BatchCommitter =>
      new TaskCommitMessage(Committed(renaming.getCommittedTaskPath(context).toString, files.toList))
    case _ => FileCommitProtocol.EmptyTaskCommitMessage // S3A itself keeps which uploads are a committed task's
  }

  private[sfbatch] def committed(context: TaskAttemptContext): TaskCommitMessage = {
    committer.commitTask(context)
    named(context)
  }

  override def commitJob(context: JobContext, tasks: Seq[TaskCommitMessage]): Unit = {
    move(context.getConfiguration, tasks.map(_.obj).collect { case committed: Committed => committed })
    committer.commitJob(context)
    MagicCommitter.clean(new Path(root), batchId, context.getConfiguration)
  }

  override def abortJob(context: JobContext): Unit = {
    super.abortJob(context)
    MagicCommitter.clean(new Path(root), batchId, context.getConfiguration)
  }

  /** Stock Hadoop merges directories; two jobs that create the same parent then end one inside the other. Files are
    * moved one by one.
    */
  private def move(conf: Configuration, tasks: Seq[Committed]): Unit = {
    val fs = new Path(root).getFileSystem(conf)
    val moves = for {
      task <- tasks
      file <- task.files
    } yield new Path(task.directory, file) -> new Path(root, file)
    val store = Store.of(new Path(root), conf)
    moves.map(_._2.getParent).distinct.foreach(store.makeDirectory)
    moves.foreach { case (from, to) =>
      // A writer may never have made the file it asked for (ORC without rows).
      if (!fs.rename(from, to) && fs.exists(from)) throw new IOException(s"cannot rename $from to $to")
    }
  }
}

object BatchCommitProtocol {
  private final case class Committed(directory: String, files: List[String])

  def apply(table: Table, batchId: BatchId, jobId: String): BatchCommitProtocol =
    new BatchCommitProtocol(jobId, table.root.toString, table.style, table.partitionColumns.map(_.name), batchId)

  /** Settings under which the committers are safe, for the job of this batch. */
  def configure(conf: Configuration, root: Path, batchId: BatchId): Unit = {
    conf.setInt("mapreduce.fileoutputcommitter.algorithm.version", 1)
    conf.setBoolean("mapreduce.fileoutputcommitter.marksuccessfuljobs", false)
    conf.setInt("mapreduce.job.application.attempt.id", attempt(batchId))
    if (MagicCommitter.isFor(root, conf)) MagicCommitter.configure(conf, batchId)
  }

  /** Seconds since 2000: distinct for distinct batch IDs until 2068. */
  private[sfbatch] def attempt(batchId: BatchId): Int = {
    val second =
      java.time.LocalDateTime.parse(batchId.value, java.time.format.DateTimeFormatter.ofPattern("uuuuMMddHHmmss"))
    Math.floorMod(second.toEpochSecond(java.time.ZoneOffset.UTC) - 946684800L, Int.MaxValue.toLong).toInt
  }

  /** What the metastore's columns or a file system cannot hold is refused in the task that meets it. */
  private[sfbatch] def checkValues(columns: Seq[String], values: Seq[String]): Unit =
    columns.zip(values).foreach { case (column, value) =>
      def refuse(why: String): Nothing =
        throw new SfBatchException(
          "SFBATCH_BAD_PARTITION_VALUE",
          s"partition column '$column': the value '${value.take(80)}' $why."
        )
      if (value.indexOf(0) >= 0) refuse("holds a NUL character, which no path can; replace it in the query")
      if (value.length > 256)
        refuse(s"has ${value.length} characters, the metastore keeps 256; shorten it in the query")
      if (PartitionPath.escape(value).getBytes(UTF_8).length > 240)
        refuse("is too long for a directory name; shorten it in the query")
    }
}
