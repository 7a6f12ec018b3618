package sfbatch

import org.apache.spark.sql.{DataFrame, Row, SparkSession}
import scala.concurrent.duration.Duration
import scala.util.control.NonFatal

/** Its tests may take twenty minutes: a machine may have much else to do. */
trait Patient extends munit.FunSuite {
  override val munitTimeout: Duration = Duration(1200, "s")
}

/** Ignored on the others: what it tests is the same code on all, and it is slow. */
trait OnOneSpark extends Patient {
  override def munitIgnore: Boolean = !OnOneSpark.here
}

object OnOneSpark {
  def here: Boolean = org.apache.spark.SPARK_VERSION.startsWith("3.5.")
}

/** A suite with a database of its own in [[LocalLake]]. */
abstract class LakeSuite extends Patient {
  def spark: SparkSession = LocalLake.spark
  def stock: SparkSession = LocalLake.stock
  val db: String = getClass.getSimpleName.toLowerCase

  override def beforeAll(): Unit = stock.sql(s"CREATE DATABASE IF NOT EXISTS $db")

  // As PySpark and spark-shell have it: parts of Spark ask the active session for its settings.
  override def beforeEach(context: BeforeEach): Unit = SparkSession.setActiveSession(spark)

  /** A fresh table name. */
  private var names = 0
  def newName(): String = { names += 1; s"$db.t$names" }

  def sql(text: String): DataFrame = spark.sql(text)
  def rows(frame: DataFrame): Set[Row] = frame.collect().toSet

  /** The rows an engine without sfbatch reads. */
  def seen(table: String): Set[Row] = { stock.catalog.refreshTable(table); rows(stock.table(table)) }

  def parameters(table: String): Map[String, String] = {
    import scala.jdk.CollectionConverters._
    val Array(database, name) = table.split('.')
    LocalLake.metastore.getTable(database, name).getParameters.asScala.toMap
  }

  /** The code an action is refused with, and its message. */
  def refusal(action: => Any): (String, String) =
    try { action; fail("nothing was refused") }
    catch {
      case e: SfBatchException => (e.code, e.getMessage)
      case e: munit.FailExceptionLike[_] => throw e.asInstanceOf[Throwable]
      case NonFatal(e) =>
        Iterator
          .iterate[Throwable](e)(_.getCause)
          .takeWhile(_ != null)
          .collectFirst { case s: SfBatchException => (s.code, s.getMessage) }
          .getOrElse(throw e)
    }

  def refused(code: String, parts: String*)(action: => Any)(implicit at: munit.Location): Unit = {
    val (got, message) = refusal(action)
    assertEquals(got, code, message)
    parts.foreach(part => assert(message.contains(part), s"'$part' is not in: $message"))
  }
}
