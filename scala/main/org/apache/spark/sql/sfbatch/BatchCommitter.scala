package org.apache.spark.sql.sfbatch

import java.io.IOException
import org.apache.hadoop.fs.{FileSystem, Path}
import org.apache.hadoop.mapreduce.{JobContext, JobStatus, TaskAttemptContext}
import org.apache.hadoop.mapreduce.lib.output.FileOutputCommitter

/** Hadoop's committer (algorithm 1: a task's files move by one rename), which must only ever delete its own job's
  * attempt directory.
  *
  * Stock `FileOutputCommitter` deletes `<root>/_temporary` of every job on the root when the first of them commits
  * (Hadoop 3.3.4, 3.4.1: `cleanupJob`). Here a job's directory `<root>/_temporary/<attempt>` is its own, because the
  * attempt number is made of its batch ID, and a batch ID has one owner. The job's commit itself is
  * [[BatchCommitProtocol]]'s: it moves what committed tasks named, nothing else.
  */
final class BatchCommitter(root: Path, context: TaskAttemptContext) extends FileOutputCommitter(root, context) {

  /** Another job that ends may remove the empty `_temporary` between the two mkdirs of ours: then once more. */
  override def setupJob(job: JobContext): Unit = {
    val attempt = getJobAttemptPath(job)
    val fs = files(job)
    if (!(1 to 3).exists(_ => fs.mkdirs(attempt))) throw new IOException(s"mkdirs failed: $attempt")
  }

  override def commitJob(job: JobContext): Unit = removeAttempt(job)

  override def abortJob(job: JobContext, state: JobStatus.State): Unit = removeAttempt(job)

  @deprecated("Hadoop's name for it", "")
  override def cleanupJob(job: JobContext): Unit = removeAttempt(job)

  private def removeAttempt(job: JobContext): Unit = {
    val fs = files(job)
    val attempt = getJobAttemptPath(job)
    fs.delete(attempt, true)
    // Safe: not recursive, so another job's attempt stays; and no job relies on an attempt directory that holds no file yet.
    try if (fs.listStatus(attempt.getParent).isEmpty) fs.delete(attempt.getParent, false)
    catch { case _: IOException => () }
  }

  private def files(job: JobContext): FileSystem = root.getFileSystem(job.getConfiguration)
}
