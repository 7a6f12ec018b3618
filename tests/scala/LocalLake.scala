package sfbatch

import java.net.ServerSocket
import java.nio.file.Files
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.conf.HiveConf
import org.apache.hadoop.hive.metastore.{HiveMetaStore, HiveMetaStoreClient}
import org.apache.hadoop.hive.metastore.txn.TxnDbUtil
import org.apache.hadoop.hive.shims.ShimLoader
import org.apache.logging.log4j.Level
import org.apache.logging.log4j.core.config.Configurator
import org.apache.spark.{SparkConf, SparkContext}
import org.apache.spark.sql.{SparkSession, SparkSessionExtensions}

/** One metastore server (thrift, Derby with locks) and one Spark context for all suites of a run, with sessions with
  * and without sfbatch.
  */
object LocalLake {
  val home: java.nio.file.Path = Files.createTempDirectory("sfbatch-lake")
  val warehouse: String = home.resolve("warehouse").toString

  /** Free, and below the ports that connections get: it stays free until the server takes it, seconds later. */
  private lazy val port: Int = Iterator
    .continually(20000 + scala.util.Random.nextInt(12768))
    .find(free => scala.util.Try(new ServerSocket(free).close()).isSuccess)
    .get
  lazy val uri: String = {
    val conf = new HiveConf()
    conf.set("javax.jdo.option.ConnectionURL", s"jdbc:derby:memory:lake;create=true")
    conf.set("datanucleus.schema.autoCreateAll", "true")
    conf.set("datanucleus.connectionPoolingType", "HikariCP") // Spark 4.0 ships no BoneCP
    conf.set("hive.metastore.schema.verification", "false")
    conf.set("hive.metastore.warehouse.dir", warehouse)
    conf.set("hive.metastore.uris", "")
    System.setProperty("derby.language.statementCacheSize", "1000")
    System.setProperty("derby.locks.deadlockTimeout", "2") // seconds, not 20: writers at once may meet one
    System.setProperty("derby.stream.error.file", home.resolve("derby.log").toString)
    TxnDbUtil.setConfValues(conf)
    TxnDbUtil.prepDb(conf)
    val listen = port // not in the thread: it would wait for this object's lock, which is held here
    val server =
      new Thread(() => HiveMetaStore.startMetaStore(listen, ShimLoader.getHadoopThriftAuthBridge, conf), "metastore")
    server.setDaemon(true)
    server.start()
    val giveUp = System.nanoTime + 240000000000L
    while (scala.util.Try(new java.net.Socket("localhost", port).close()).isFailure) {
      if (System.nanoTime > giveUp || !server.isAlive) throw new IllegalStateException("the metastore did not start")
      Thread.sleep(100)
    }
    s"thrift://localhost:$port"
  }

  lazy val context: SparkContext = quiet(
    new SparkContext(
      new SparkConf()
        .setMaster("local[2]")
        .setAppName("sfbatch tests")
        .set("spark.ui.enabled", "false")
        .set("spark.sql.shuffle.partitions", "2")
        .set("spark.sql.warehouse.dir", warehouse)
        .set("spark.sql.catalogImplementation", "hive")
        .set("spark.sql.session.timeZone", "UTC")
        // A handful of rows is read in less time than code for them is compiled. (The Python tests do compile.)
        .set("spark.sql.codegen.wholeStage", "false")
        .set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .set("spark.hadoop.hive.metastore.uris", uri)
        .set("spark.hadoop.hive.exec.dynamic.partition.mode", "nonstrict")
    )
  )

  private def quiet(started: SparkContext): SparkContext = {
    Configurator.setRootLevel(Level.ERROR)
    Configurator.setLevel("org.apache.thrift.server", Level.OFF) // a stack trace for every client that hangs up
    started
  }

  /** A session with sfbatch and its catalog. */
  lazy val spark: SparkSession =
    session(Seq(new SfBatchExtensions), "spark.sql.catalog.spark_catalog" -> "sfbatch.SfBatchCatalog")

  /** A session that knows nothing of sfbatch, with caches of its own. */
  lazy val stock: SparkSession = session(Nil)

  def session(extensions: Seq[SparkSessionExtensions => Unit], settings: (String, String)*): SparkSession = {
    context
    SparkSession.clearActiveSession()
    SparkSession.clearDefaultSession()
    val builder = settings.foldLeft(SparkSession.builder()) { case (b, (key, value)) => b.config(key, value) }
    try extensions.foldLeft(builder)(_.withExtensions(_)).getOrCreate()
    finally { SparkSession.clearActiveSession(); SparkSession.clearDefaultSession() }
  }

  lazy val metastore: HiveMetaStoreClient = {
    val conf = new HiveConf()
    conf.set("hive.metastore.uris", uri)
    new HiveMetaStoreClient(conf)
  }

  /** Files and directories under a table's root, sorted, without those whose name starts with `_`, `.` or is a data
    * file's random name.
    */
  def directories(root: Path): Seq[String] = {
    val base = java.nio.file.Paths.get(root.toUri.getPath)
    val walk = Files.walk(base)
    try {
      import scala.jdk.CollectionConverters._
      walk.iterator.asScala
        .filter(Files.isDirectory(_))
        .map(base.relativize(_).toString)
        .filter(p => p.nonEmpty && !p.startsWith("_"))
        .toSeq
        .sorted
    } finally walk.close()
  }
}
