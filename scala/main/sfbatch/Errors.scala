package sfbatch

import org.apache.spark.sql.AnalysisException

/** The one exception of the product; must never be raised without a code and a way to mend.
  *
  * An `AnalysisException`, so that PySpark users catch `pyspark.errors.AnalysisException` with `getErrorClass()` = the
  * code, without a Java trace in the way. The codes are public for ever and listed in the README.
  *
  * @param detail
  *   what happened, and the mend
  * @param mend
  *   a mend that is right for a caller only that has published nothing yet: "run it again"
  */
class SfBatchException(val code: String, val detail: String, cause: Throwable = null, mend: String = "")
    extends AnalysisException(
      s"[$code] ${s"$detail $mend".trim}",
      None,
      None,
      Option(cause),
      Some(code),
      Map.empty[String, String],
      Array.empty[org.apache.spark.QueryContext]
    ) {
  override def getMessage: String = s"[$code] ${s"$detail $mend".trim}"
  override def getErrorClass: String = code
}

object Errors {

  /** What happened, for a sentence that says what to do about it. */
  def reason(e: Throwable): String = e match {
    case known: SfBatchException => s"[${known.code}] ${known.detail}".stripSuffix(".")
    case _ => Metastore.why(e)
  }
  def unknownDatabase(database: String) = new SfBatchException(
    "SFBATCH_UNKNOWN_DATABASE",
    s"there is no database $database. Create it: CREATE DATABASE $database."
  )

  /** @param provider
    *   `hive`, or that of a Spark data source table
    */
  def notOurs(title: String, isView: Boolean, provider: Option[String]) = new SfBatchException(
    "SFBATCH_NOT_OURS",
    if (isView) s"$title is a view: name the table that it reads."
    else if (provider.exists(!_.equalsIgnoreCase("hive")))
      s"$title is a ${provider.get} table of Spark's, not of sfbatch. Copy it: CREATE TABLE <new> USING sfbatch AS SELECT * FROM $title."
    else s"$title is not an sfbatch table. Make it one, files in place: CALL sfbatch.adopt(table => '$title')."
  )
  def unknownTable(database: String, name: String) = new SfBatchException(
    "SFBATCH_UNKNOWN_TABLE",
    s"there is no table $database.$name.",
    mend =
      s"Check the name (SHOW TABLES IN $database), or create it: CREATE TABLE $database.$name (...) USING sfbatch, or df.write.format('sfbatch').save('$database.$name')."
  )
}
