package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{LocalMetastore, SfBatchException}
import org.apache.hadoop.conf.Configuration
import org.apache.spark.{SparkConf, SparkContext}
import org.apache.spark.util.Utils

/** Makes sure a session has a metastore before its shared state exists; must never start one for a cluster.
  *
  * `SFBATCH_METASTORE_URI`, then what the session or hive-site.xml configures, then (local master only) the laptop's
  * own (`sfbatch.LocalMetastore`). Errors: `SFBATCH_NO_METASTORE`, and those of `LocalMetastore.ensure`.
  */
object EmbeddedMetastore {

  /** Called from `SfBatchExtensions.apply`, i.e. while the session is being built: later Spark has read these settings.
    */
  def ensure(context: SparkContext): Unit =
    sys.env.get("SFBATCH_METASTORE_URI").filter(_.nonEmpty) match {
      case Some(uri) => use(context, uri)
      case None if isConfigured(context.hadoopConfiguration) => useHive(context.conf)
      case None if context.master.startsWith("local") => useLocal(context)
      case None =>
        throw new SfBatchException(
          "SFBATCH_NO_METASTORE",
          s"no Hive Metastore is configured and the master is '${context.master}', not local. Set spark.hadoop.hive.metastore.uris=thrift://HOST:9083 " +
            "(or hive.metastore.uris in hive-site.xml, or the environment variable SFBATCH_METASTORE_URI)."
        )
    }

  private val settings =
    Seq("hive.metastore.uris", "javax.jdo.option.ConnectionURL", "hive.metastore.client.factory.class")

  private def isConfigured(hadoop: Configuration): Boolean = {
    // Spark itself reads hive-site.xml later, into the shared state's configuration (SharedState.scala, Spark 3.5 and 4.0).
    val site = new Configuration(false)
    Option(Utils.getContextOrSparkClassLoader.getResource("hive-site.xml")).foreach(site.addResource(_))
    // spark.hadoop.* and spark.hive.* are in the context's configuration.
    settings.exists(key => Seq(site.get(key), hadoop.get(key)).exists(value => value != null && value.trim.nonEmpty))
  }

  private def useLocal(context: SparkContext): Unit = {
    val (state, started) = LocalMetastore.ensure()
    System.err.println(
      s"sfbatch: ${if (started) "started" else "using"} the local metastore ${state.uri}, data under ${LocalMetastore.defaultHome} (`sfbatch metastore stop` ends it)"
    )
    if (!context.conf.contains("spark.sql.warehouse.dir")) {
      context.conf.set("spark.sql.warehouse.dir", state.warehouse)
      context.hadoopConfiguration.set("hive.metastore.warehouse.dir", state.warehouse)
    }
    use(context, state.uri)
  }

  private def use(context: SparkContext, uri: String): Unit = {
    context.hadoopConfiguration.set("hive.metastore.uris", uri)
    // Executors and sessions that copy the configuration must see the same one.
    context.conf.set("spark.hadoop.hive.metastore.uris", uri)
    useHive(context.conf)
  }

  private def useHive(conf: SparkConf): Unit =
    if (!conf.contains("spark.sql.catalogImplementation")) conf.set("spark.sql.catalogImplementation", "hive")
}
