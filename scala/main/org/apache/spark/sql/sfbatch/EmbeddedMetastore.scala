package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{LocalMetastore, SfBatchException}
import org.apache.hadoop.conf.Configuration
import org.apache.spark.{SparkConf, SparkContext}

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
      case None if isConfigured(context.conf, context.hadoopConfiguration) => useHive(context.conf)
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

  private def isConfigured(conf: SparkConf, hadoop: Configuration): Boolean =
    settings.exists { key =>
      Seq(
        hadoop.get(key),
        conf.get(s"spark.hadoop.$key", null),
        conf.get(s"spark.hive.$key", null),
        conf.get(key, null)
      )
        .exists(value => value != null && value.trim.nonEmpty)
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
