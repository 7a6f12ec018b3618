package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{LakeSuite, LocalLake, Warehouse}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.mapreduce.{Job, JobID, TaskAttemptID, TaskID, TaskType}
import org.apache.hadoop.mapreduce.lib.output.FileOutputFormat
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl
import org.apache.spark.TaskContext
import org.apache.spark.internal.io.FileCommitProtocol.TaskCommitMessage
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.util.SerializableConfiguration

/** Attempts of one task as speculation and a lost executor make them: what no committed attempt named is never in the
  * batch.
  */
class CommitSuite extends LakeSuite {

  /** A job on a fresh table: the attempts run as tasks of their own; the files of its batch and whatever else lies
    * under the root.
    */
  private final class Attempts {
    private val name = newName()
    sql(s"CREATE TABLE $name (n INT, date STRING) USING sfbatch OPTIONS (format 'text') PARTITIONED BY (date)")
    private val warehouse: Warehouse = Warehouses.of(spark.asInstanceOf[Session])
    private val table = warehouse.table(db, name.stripPrefix(s"$db."))
    private val write = warehouse.begin(table, _root_.sfbatch.WriteOptions(append = false)).toOption.get
    private val conf = new Configuration(spark.sparkContext.hadoopConfiguration)
    BatchCommitProtocol.configure(conf, table.root, write.batchId)
    private val job = Job.getInstance(conf)
    FileOutputFormat.setOutputPath(job, table.root)
    private val protocol = BatchCommitProtocol(table, write.batchId, java.util.UUID.randomUUID.toString)
    protocol.setupJob(job)

    def attempt(number: Int, ending: String): Option[TaskCommitMessage] = {
      val (commits, settings) = (protocol, new SerializableConfiguration(job.getConfiguration))
      val context = spark.sparkContext
      context
        .runJob(
          context.parallelize(Seq(0), 1),
          (_: TaskContext, _: Iterator[Int]) => CommitSuite.attempt(commits, settings.value, number, ending)
        )
        .head
    }
    def commit(messages: Option[TaskCommitMessage]*): Unit = protocol.commitJob(job, messages.flatten)
    def abort(): Unit = protocol.abortJob(job)

    /** Data files under the root, batch ID and random names cut. */
    def files: Seq[String] = {
      val root = java.nio.file.Paths.get(table.root.toUri.getPath)
      val walk = java.nio.file.Files.walk(root)
      try
        walk.toArray
          .map(p => root.relativize(p.asInstanceOf[java.nio.file.Path]).toString)
          .filter(p =>
            p.startsWith("20161001/") && !p.endsWith(".crc") && java.nio.file.Files.isRegularFile(root.resolve(p))
          )
          .map(_.replaceAll("/\\d{14}/", "/B/"))
          .sorted
          .toSeq
      finally walk.close()
    }
  }

  test("of two attempts of a task only the one that committed is in the batch") {
    val attempts = new Attempts
    attempts.attempt(0, "goes on") // speculation: both run, one is let
    val won = attempts.attempt(1, "commits")
    attempts.attempt(2, "aborts")
    attempts.commit(won)
    assertEquals(attempts.files, Seq("20161001/B/part-1"))
  }

  test("an attempt that commits after the job is over adds nothing") {
    val attempts = new Attempts
    attempts.commit(attempts.attempt(0, "commits"))
    scala.util.Try(attempts.attempt(1, "commits"))
    assertEquals(attempts.files, Seq("20161001/B/part-0"))
  }

  test("an attempt that committed, but whose message the driver never got, adds nothing") {
    val attempts = new Attempts
    attempts.attempt(0, "commits") // its executor was lost on the way: the task ran again
    val again = attempts.attempt(1, "commits")
    attempts.commit(again)
    assertEquals(attempts.files, Seq("20161001/B/part-1"))
  }

  test("an aborted job leaves no data file, nor does a task of it that ends later") {
    val attempts = new Attempts
    attempts.attempt(0, "commits")
    attempts.abort()
    scala.util.Try(attempts.attempt(1, "commits"))
    assertEquals(attempts.files, Nil)
  }
}

object CommitSuite {
  def attempt(
      protocol: BatchCommitProtocol,
      conf: Configuration,
      number: Int,
      ending: String
  ): Option[TaskCommitMessage] = {
    val id = new TaskAttemptID(new TaskID(new JobID("job", 0), TaskType.MAP, 0), number)
    val own = new Configuration(conf)
    own.set("mapreduce.job.id", id.getJobID.toString)
    own.set("mapreduce.task.id", id.getTaskID.toString)
    own.set("mapreduce.task.attempt.id", id.toString)
    own.setBoolean("mapreduce.task.ismap", true)
    own.setInt("mapreduce.task.partition", 0)
    val context = new TaskAttemptContextImpl(own, id)
    protocol.setupTask(context)
    val file = new Path(protocol.newFile(Seq("20161001"), s"part-$number"))
    val out = file.getFileSystem(own).create(file)
    out.write('1')
    out.close()
    ending match {
      case "commits" => Some(protocol.commitTask(context))
      case "aborts" => protocol.abortTask(context); None
      case _ => None
    }
  }
}
