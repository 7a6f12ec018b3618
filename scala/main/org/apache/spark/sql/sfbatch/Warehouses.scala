package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{Caller, Warehouse}
import java.net.InetAddress
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.security.UserGroupInformation
import org.apache.spark.SparkContext
import org.apache.spark.sql.sfbatch.Shims.Session
import scala.util.Try

/** The warehouse a session writes to, on whose behalf; must see the same metastore as the session's own catalog. */
object Warehouses {
  def of(session: Session): Warehouse = Warehouse(configuration(session), caller(session))

  /** While the session is being built: see [[EmbeddedMetastore]]. */
  def ensureMetastore(): Unit = SparkContext.getActive.foreach(EmbeddedMetastore.ensure(_))

  def caller(session: Session): Caller = Caller(
    user = environment("SFBATCH_USER").getOrElse(UserGroupInformation.getCurrentUser.getShortUserName),
    host = host,
    appId = Some(session.sparkContext.applicationId),
    jobId = session.conf.getOption("spark.sfbatch.job-id").orElse(environment("SFBATCH_JOB_ID"))
  )

  private def configuration(session: Session): Configuration = {
    val conf = session.sessionState.newHadoopConf()
    // hive-site.xml is read into the shared state's configuration only.
    session.sharedState.hadoopConf.forEach { entry =>
      if (entry.getKey.startsWith("hive.") && conf.get(entry.getKey) == null) conf.set(entry.getKey, entry.getValue)
    }
    conf
  }

  private lazy val host: String = Try(InetAddress.getLocalHost.getHostName).getOrElse("localhost")

  private def environment(name: String): Option[String] = sys.env.get(name).filter(_.nonEmpty)
}
