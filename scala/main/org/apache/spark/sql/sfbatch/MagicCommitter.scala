package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, Store}
import java.io.IOException
import java.nio.charset.StandardCharsets.UTF_8
import java.time.Instant
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{Path, PathIOException}
import org.apache.hadoop.mapreduce.{TaskAttemptContext, TaskAttemptID}
import org.apache.hadoop.mapreduce.lib.output.{PathOutputCommitter, PathOutputCommitterFactory}
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl
import org.apache.hadoop.util.VersionInfo
import org.apache.spark.internal.Logging
import scala.collection.JavaConverters._

/** S3A's magic committer: a task's files are uploads left open under their last names, the job's commit completes them,
  * and nothing is renamed or copied. One job must never end another's uploads.
  */
object MagicCommitter extends Logging {
  private val ClassName = "org.apache.hadoop.fs.s3a.commit.magic.MagicS3GuardCommitter"
  private val MagicLength = "header.x-hadoop-s3a-magic-data-length"
  private val InMemory = "fs.s3a.committer.magic.track.commits.in.memory.enabled"
  private val Factory = "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory"

  def isFor(root: Path, conf: Configuration): Boolean = Store.isS3a(root.getFileSystem(conf))

  def configure(conf: Configuration, batchId: BatchId): Unit = {
    // Hadoop sets it for s3a:// only, not for s3://.
    conf.set(PathOutputCommitterFactory.COMMITTER_FACTORY_CLASS, Factory)
    conf.set("fs.s3a.committer.name", "magic")
    conf.set("fs.s3a.committer.uuid", batchId.value)
    // Else the first job to end aborts the uploads of every other one under the root.
    conf.setBoolean("fs.s3a.committer.abort.pending.uploads", false)
    conf.setBoolean(InMemory, false)
  }

  /** Any other committer would rename, which S3 has not, or write nothing at all.
    *
    * @throws SfBatchException
    *   SFBATCH_STORE_UNSUPPORTED
    */
  def apply(root: Path, batchId: BatchId, context: TaskAttemptContext): PathOutputCommitter = {
    def refuse(found: String, cause: Throwable) = throw Store.unsupported(
      s"$root: files on S3 are committed by $ClassName, but $found. Set fs.s3a.committer.magic.enabled=true, and let no setting replace S3A's committer factory.",
      cause
    )
    val made =
      try PathOutputCommitterFactory.createCommitter(directory(root, batchId), context)
      catch { case e: PathIOException => refuse(e.getMessage, e) }
    if (made.getClass.getName != ClassName) refuse(s"these settings make a ${made.getClass.getName}", null)
    made
  }

  /** Step 1: the settings are tried before the first byte is written. */
  def check(root: Path, conf: Configuration): Unit = if (isFor(root, conf)) {
    if (root.getFileSystem(conf).getConf.getBoolean(InMemory, false))
      throw Store.unsupported(
        s"$root: a file's length is told by its marker on S3, and $InMemory leaves none. Set it to false."
      )
    val tried = new Configuration(conf)
    val batchId = BatchId.at(Instant.now())
    configure(tried, batchId)
    apply(root, batchId, new TaskAttemptContextImpl(tried, new TaskAttemptID()))
    ()
  }

  /** What the committer is told to be its output directory.
    *
    * Hadoop 3.3 keeps the tasks' lists of uploads in `<directory>/__magic` and the first job to end deletes all of it,
    * so each job gets a directory of its own; a file's last name is what stands before the *first* `__magic` of its
    * path, here the root, with what follows `__base` (`MagicCommitPaths`, 3.3.4). Hadoop 3.4 names that directory after
    * the job.
    */
  private def directory(root: Path, batchId: BatchId): Path =
    if (isShared) new Path(root, s"__magic/$batchId") else root

  private def isShared = VersionInfo.getVersion.startsWith("3.3.")

  /** S3A has deleted its lists; what is left is markers, and trouble with these is no trouble of the job's. */
  def clean(root: Path, batchId: BatchId, conf: Configuration): Unit =
    if (isShared && isFor(root, conf))
      try { root.getFileSystem(conf).delete(directory(root, batchId), true); () }
      catch { case e: IOException => logWarning(s"${directory(root, batchId)} was not deleted", e) }

  /** Until the job commits, a file on S3 is an empty marker that tells its length by a header. One HEAD has that and
    * the object's own (Spark's `BasicWriteTaskStatsTracker`, 3.5.6, asks twice).
    */
  def length(file: Path, conf: Configuration): Long = {
    val fs = file.getFileSystem(conf)
    if (Store.isS3a(fs)) {
      val headers = fs.getXAttrs(file).asScala.map { case (name, value) => name.toLowerCase -> value }
      new String(headers.getOrElse(MagicLength, headers("header.content-length")), UTF_8).toLong
    } else fs.getFileStatus(file).getLen
  }
}
