package sfbatch

import java.lang.reflect.{InvocationTargetException, Method, Proxy}
import java.net.{InetAddress, InetSocketAddress, ServerSocket}
import java.nio.file.{Files, Path}
import java.sql.{Connection, SQLException}
import java.time.Instant
import java.util.concurrent.locks.ReentrantReadWriteLock
import org.apache.hadoop.hive.conf.HiveConf
import org.apache.hadoop.hive.metastore.{HiveMetaStore, RawStore, TServerSocketKeepAlive, TUGIBasedProcessor}
import org.apache.hadoop.hive.metastore.HiveMetaStore.HMSHandler
import org.apache.hadoop.hive.metastore.api.ThriftHiveMetastore
import org.apache.hadoop.hive.metastore.txn.TxnDbUtil
import org.apache.hadoop.hive.thrift.TUGIContainingTransport
import org.apache.thrift.protocol.{TBinaryProtocol, TProtocol}
import org.apache.thrift.server.{ServerContext, TServerEventHandler, TThreadPoolServer}
import org.apache.thrift.transport.{TServerSocket, TTransport}

/** The local metastore's process: Hive's own handler on Derby, with the transaction tables that locks need; must never
  * listen beyond the loopback address.
  *
  * What `HiveMetaStore.startMetaStore` (Hive 2.3.9) does, except that it binds 127.0.0.1 (2.3 has no setting for that)
  * and takes a free port without a race.
  */
private[sfbatch] object LocalMetastoreServer {

  def serve(home: Path): Unit = {
    // Ctrl-C in the terminal of the driver that happened to start it must not take it from everybody else.
    List("INT", "HUP").foreach(name =>
      sun.misc.Signal.handle(new sun.misc.Signal(name), sun.misc.SignalHandler.SIG_IGN)
    )
    holdServerLock(home)
    // Derby recovers from a kill; a clean end saves the next start the work.
    sys.addShutdownHook(
      try java.sql.DriverManager.getConnection("jdbc:derby:;shutdown=true")
      catch { case _: SQLException => () }
    )
    Files.createDirectories(LocalMetastore.warehouse(home))
    val conf = configuration(home)
    prepare(conf)
    val handler = oneChangeAtATime(
      HiveMetaStore.newRetryingHMSHandler(new HMSHandler("local metastore", conf, false), conf)
    )
    val socket = bind(LocalMetastore.readState(home).map(_.port).getOrElse(0))
    val maxMessage = conf.getLongVar(HiveConf.ConfVars.METASTORESERVERMAXMESSAGESIZE)
    val server = new TThreadPoolServer(
      new TThreadPoolServer.Args(new TServerSocketKeepAlive(new TServerSocket(socket)))
        .minWorkerThreads(4)
        .maxWorkerThreads(1000)
        .processor(new TUGIBasedProcessor[ThriftHiveMetastore.Iface](handler))
        .transportFactory(new TUGIContainingTransport.Factory())
        .protocolFactory(new TBinaryProtocol.Factory())
        .inputProtocolFactory(new TBinaryProtocol.Factory(true, true, maxMessage, maxMessage))
    )
    server.setServerEventHandler(CloseStores)
    LocalMetastore.writeState(
      home,
      LocalMetastore.State(
        ProcessHandle.current.pid,
        socket.getLocalPort,
        s"thrift://127.0.0.1:${socket.getLocalPort}",
        ready = true,
        Instant.now.toString,
        org.apache.spark.SPARK_VERSION,
        LocalMetastore.warehouse(home).toUri.toString.stripSuffix("/")
      )
    )
    server.serve()
  }

  // A channel nobody refers to is closed by the garbage collector, and its lock goes with it.
  private var serverLock: Option[LocalMetastore.Held] = None

  /** Held until this process ends. Whoever looks whether it is held has a shared lock for a moment, hence the patience.
    */
  private def holdServerLock(home: Path): Unit = {
    serverLock = Iterator
      .fill(100) {
        val held = LocalMetastore.tryLock(LocalMetastore.serverLock(home)); if (held.isEmpty) Thread.sleep(50); held
      }
      .collectFirst { case Some(held) => held }
    if (serverLock.isEmpty) {
      System.err.println(s"a metastore runs already under $home")
      sys.exit(3)
    }
  }

  /** A request that changes a table runs while no other request reads or changes one. Derby has no snapshots: one that
    * read beside a switch found some partitions before it and some after it. The requests of the lock API never wait
    * here.
    */
  private def oneChangeAtATime(handler: ThriftHiveMetastore.Iface): ThriftHiveMetastore.Iface = {
    val lock = new ReentrantReadWriteLock(true)
    val changes =
      List("add_", "alter_", "append_", "create_", "delete_", "drop_", "exchange_", "rename_", "truncate_", "update_")
    def call(method: Method, arguments: Array[AnyRef]): AnyRef =
      try method.invoke(handler, arguments: _*)
      catch { case e: InvocationTargetException => throw e.getCause }
    def holding(one: java.util.concurrent.locks.Lock)(body: => AnyRef): AnyRef = {
      one.lock()
      try body
      finally one.unlock()
    }
    Proxy
      .newProxyInstance(
        getClass.getClassLoader,
        Array(classOf[ThriftHiveMetastore.Iface]),
        (_: Any, method: Method, arguments: Array[AnyRef]) => {
          val passed = if (arguments == null) Array.empty[AnyRef] else arguments
          if (changes.exists(method.getName.startsWith)) holding(lock.writeLock)(call(method, passed))
          else if (method.getName.startsWith("get_")) holding(lock.readLock)(call(method, passed))
          else call(method, passed)
        }
      )
      .asInstanceOf[ThriftHiveMetastore.Iface]
  }

  private def configuration(home: Path): HiveConf = {
    val conf = new HiveConf()
    Map(
      "hive.metastore.uris" -> "",
      "hive.metastore.warehouse.dir" -> LocalMetastore.warehouse(home).toUri.toString.stripSuffix("/"),
      "javax.jdo.option.ConnectionURL" -> s"jdbc:derby:;databaseName=${LocalMetastore.metastoreDir(home).resolve("derby")};create=true",
      "javax.jdo.option.ConnectionDriverName" -> "org.apache.derby.jdbc.EmbeddedDriver",
      "javax.jdo.option.ConnectionUserName" -> "APP",
      "javax.jdo.option.ConnectionPassword" -> "mine",
      // Hive's default, BoneCP, is not among Spark 4's jars.
      "datanucleus.connectionPoolingType" -> "HikariCP",
      "datanucleus.schema.autoCreateAll" -> "true",
      "hive.metastore.schema.verification" -> "false",
      "hive.async.log.enabled" -> "false",
      "hive.hmshandler.retry.interval" -> "100ms", // ten times, while others wait: see oneChangeAtATime
      "fs.s3a.impl" -> classOf[UntouchedFileSystem].getName,
      "fs.s3.impl" -> classOf[UntouchedFileSystem].getName
    ).foreach { case (key, value) => conf.set(key, value) }
    conf
  }

  /** Creates the tables of the lock API, once per database. `TxnDbUtil.prepDb` is not idempotent, so look first. */
  private def prepare(conf: HiveConf): Unit = {
    val connection = connect(conf)
    val prepared =
      try {
        val found =
          connection.createStatement.executeQuery("select 1 from SYS.SYSTABLES where TABLENAME = 'HIVE_LOCKS'")
        try found.next()
        finally found.close()
      } finally connection.close()
    if (!prepared) TxnDbUtil.prepDb(conf)
  }

  private def connect(conf: HiveConf): Connection =
    try java.sql.DriverManager.getConnection(conf.get("javax.jdo.option.ConnectionURL"), "APP", "mine")
    catch {
      case e: SQLException =>
        // The log is what the starter reads: XSLAN is "made by a newer Derby", XSDB6 "another JVM has it open".
        Iterator
          .iterate[SQLException](e)(_.getNextException)
          .takeWhile(_ != null)
          .foreach(x => System.err.println(s"Derby ${x.getSQLState}: ${x.getMessage}"))
        sys.exit(4)
    }

  private def bind(port: Int): ServerSocket = {
    val loopback = InetAddress.getByName("127.0.0.1")
    def open(port: Int): ServerSocket = {
      val socket = new ServerSocket()
      socket.setReuseAddress(true)
      socket.bind(new InetSocketAddress(loopback, port), 128)
      socket
    }
    try open(port)
    catch { case _: java.net.BindException => open(0) }
  }

  /** A connection's thread keeps its object store (and Derby connection) unless told otherwise; so does
    * `HiveMetaStore`.
    */
  private object CloseStores extends TServerEventHandler {
    override def preServe(): Unit = ()
    override def createContext(in: TProtocol, out: TProtocol): ServerContext = null
    override def processContext(context: ServerContext, in: TTransport, out: TTransport): Unit = ()
    override def deleteContext(context: ServerContext, in: TProtocol, out: TProtocol): Unit = {
      val store: RawStore = HMSHandler.getRawStore
      if (store != null)
        try store.shutdown()
        finally HMSHandler.removeRawStore()
    }
  }
}
