package org.apache.spark.sql.sfbatch

import org.apache.hadoop.fs.Path
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

  override def commitJob(job: JobContext): Unit = removeAttempt(job)

  override def abortJob(job: JobContext, state: JobStatus.State): Unit = removeAttempt(job)

  @deprecated("Hadoop's name for it", "")
  override def cleanupJob(job: JobContext): Unit = removeAttempt(job)

  /** `_temporary` itself stays: even a delete that is not recursive takes what is made in it meanwhile
    * (RawLocalFileSystem, 3.3.4).
    */
  private def removeAttempt(job: JobContext): Unit = {
    root.getFileSystem(job.getConfiguration).delete(getJobAttemptPath(job), true); ()
  }
}
