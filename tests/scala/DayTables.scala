package sfbatch

import org.apache.hadoop.fs.Path
import org.apache.spark.sql.DataFrame

/** A suite that writes tables `(n INT, date STRING)`, partitioned by `date`. */
abstract class DayTables extends LakeSuite {
  private lazy val session = spark
  import session.implicits._

  def days(rows: (String, Int)*): DataFrame = rows.toDF("date", "n").select("n", "date")

  def create(format: String = "parquet"): String = {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, date STRING) USING sfbatch OPTIONS (format '$format') PARTITIONED BY (date)")
    table
  }

  def root(table: String): Path = new Path(parameters(table)("sfbatch.root"))
  def batches(table: String): Seq[String] =
    LocalLake.directories(root(table)).filter(_.matches(".*\\d{14}")).map(_.replaceAll("\\d{14}$", "B"))
  def save(frame: DataFrame, table: String, mode: String, options: (String, String)*): Unit =
    options.foldLeft(frame.write.format("sfbatch").mode(mode)) { case (w, (k, v)) => w.option(k, v) }.save(table)
}
