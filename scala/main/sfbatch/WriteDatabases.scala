package sfbatch

import org.apache.hadoop.conf.Configuration
import org.apache.spark.SparkEnv

/** The databases this driver may change, e.g. `dev_*,scratch`; all when nothing says otherwise. It keeps a job from the
  * wrong table, not a user who means harm from any: rights on store and metastore do that.
  */
final class WriteDatabases(lists: Seq[String]) {

  /** @throws SfBatchException SFBATCH_NO_PERMISSION */
  def check(database: String): Unit = refusal(database).foreach(throw _)

  def refusal(database: String): Option[SfBatchException] = lists.find(!WriteDatabases.has(_, database)).map { list =>
    new SfBatchException(
      "SFBATCH_NO_PERMISSION",
      s"this job may change only the databases '$list' (SFBATCH_WRITE_DATABASES, ${WriteDatabases.Setting}), not $database. Nothing was changed. " +
        "Write to one of those, or submit to a cluster that may (sfbatch submit --env prod)."
    )
  }
}

object WriteDatabases {
  val Setting = "spark.sfbatch.write-databases"

  /** Every list that is there must have the database: no session widens what its application was given. */
  def of(conf: Configuration): WriteDatabases = {
    val application = Option(SparkEnv.get).flatMap(_.conf.getOption(Setting))
    val lists = Seq(sys.env.get("SFBATCH_WRITE_DATABASES"), application, Option(conf.get(Setting)))
    new WriteDatabases(lists.flatten.filter(_.trim.nonEmpty).distinct)
  }

  private def has(list: String, database: String): Boolean = list.split(",").exists { pattern =>
    val parts = pattern.trim.toLowerCase.split("\\*", -1).map(java.util.regex.Pattern.quote)
    database.toLowerCase.matches(parts.mkString(".*"))
  }
}
