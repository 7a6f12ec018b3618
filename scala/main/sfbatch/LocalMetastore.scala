package sfbatch

import com.fasterxml.jackson.databind.ObjectMapper
import java.io.File
import java.net.{InetSocketAddress, Socket, URI}
import java.nio.ByteBuffer
import java.nio.channels.{FileChannel, FileLock, OverlappingFileLockException}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path, Paths, StandardCopyOption, StandardOpenOption}
import java.time.Instant
import scala.util.Try

/** Finds or starts the one metastore of a laptop; must never start a second one on the same directory.
  *
  * Two file locks, both released by the operating system when their process dies, whatever way it dies:
  *   - `metastore/server.lock` is held by the server for its whole life: held means alive, and no pid is ever guessed;
  *   - `metastore/start.lock` is held by whoever is starting it: others wait and find it.
  *
  * `metastore/state.json` says where it is: `{"pid":4711,"port":40123,"uri":"thrift://127.0.0.1:40123","ready":true,
  * "started":"2026-11-21T10:00:00Z","spark":"3.5.6","warehouse":"file:///home/me/.sfbatch/warehouse"}`. It outlives the
  * server: the next one takes the same port if it is free, so that a session that was open meanwhile goes on.
  */
object LocalMetastore {

  /** What `state.json` says. */
  final case class State(
      pid: Long,
      port: Int,
      uri: String,
      ready: Boolean,
      started: String,
      spark: String,
      warehouse: String
  )

  /** `SFBATCH_HOME`, or `~/.sfbatch`. */
  def defaultHome: Path =
    sys.env
      .get("SFBATCH_HOME")
      .filter(_.nonEmpty)
      .map(Paths.get(_))
      .getOrElse {
        Paths.get(sys.env.get("HOME").filter(_.nonEmpty).getOrElse(sys.props("user.home")), ".sfbatch")
      }
      .toAbsolutePath
      .normalize

  /** The running server of `home`, started if there is none; true if it was this call that started it.
    *
    * Errors: `SFBATCH_METASTORE_FAILED` (with the tail of its log), `SFBATCH_METASTORE_TOO_NEW`,
    * `SFBATCH_METASTORE_UNRESPONSIVE`.
    */
  def ensure(home: Path = defaultHome, timeoutMs: Long = 240000): (State, Boolean) = synchronized {
    find(home).map((_, false)).getOrElse {
      val deadline = System.nanoTime + timeoutMs * 1000000
      try Files.createDirectories(metastoreDir(home))
      catch {
        case e: java.io.IOException =>
          throw new SfBatchException(
            "SFBATCH_METASTORE_FAILED",
            s"cannot create ${metastoreDir(home)} for the local metastore (${e.getMessage}). Set SFBATCH_HOME to a directory you can write to.",
            e
          )
      }
      val startLock = lockBy(metastoreDir(home).resolve("start.lock"), deadline).getOrElse(throw unresponsive(home))
      try
        find(home).map((_, false)).getOrElse {
          if (isHeld(home)) (waitUntilReady(home, None, deadline), false)
          else (start(home, deadline), true)
        }
      finally startLock.release()
    }
  }

  /** The server of `home` if it runs and answers. */
  def find(home: Path = defaultHome): Option[State] =
    if (isHeld(home)) readState(home).filter(s => s.ready && answers(s.port)) else None

  def main(args: Array[String]): Unit = args.toList match {
    case List("serve") => LocalMetastoreServer.serve(defaultHome)
    case List("start") =>
      try println(Files.readString(stateFile { ensure(); defaultHome }))
      catch { case e: SfBatchException => System.err.println(e.getMessage); sys.exit(1) }
    case _ => System.err.println("usage: sfbatch.LocalMetastore start|serve (directory: SFBATCH_HOME)"); sys.exit(2)
  }

  private[sfbatch] def metastoreDir(home: Path): Path = home.resolve("metastore")
  private[sfbatch] def serverLock(home: Path): Path = metastoreDir(home).resolve("server.lock")
  private[sfbatch] def logFile(home: Path): Path = metastoreDir(home).resolve("log")
  private[sfbatch] def warehouse(home: Path): Path = home.resolve("warehouse")
  private def stateFile(home: Path): Path = metastoreDir(home).resolve("state.json")

  private[sfbatch] def readState(home: Path): Option[State] = Try {
    val json = new ObjectMapper().readTree(Files.readAllBytes(stateFile(home)))
    State(
      json.path("pid").asLong,
      json.path("port").asInt,
      json.path("uri").asText,
      json.path("ready").asBoolean,
      json.path("started").asText,
      json.path("spark").asText,
      json.path("warehouse").asText
    )
  }.toOption

  private[sfbatch] def writeState(home: Path, s: State): Unit = {
    val json = new ObjectMapper()
      .createObjectNode()
      .put("pid", s.pid)
      .put("port", s.port)
      .put("uri", s.uri)
      .put("ready", s.ready)
      .put("started", s.started)
      .put("spark", s.spark)
      .put("warehouse", s.warehouse)
    val temporary = metastoreDir(home).resolve(s"_state.${ProcessHandle.current.pid}")
    Files.write(temporary, (json.toString + "\n").getBytes(UTF_8))
    Files.move(temporary, stateFile(home), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING)
  }

  /** Tries a lock; None when another process holds it. */
  private[sfbatch] def tryLock(path: Path): Option[Held] = {
    val channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE)
    val lock =
      try channel.tryLock()
      catch { case _: OverlappingFileLockException => null }
    if (lock == null) { channel.close(); None }
    else Some(new Held(channel, lock))
  }

  private[sfbatch] final class Held(channel: FileChannel, lock: FileLock) {
    def release(): Unit = { lock.release(); channel.close() }
  }

  private def lockBy(path: Path, deadline: Long): Option[Held] =
    Iterator
      .continually(tryLock(path))
      .find { held =>
        held.isDefined || { Thread.sleep(100); System.nanoTime > deadline }
      }
      .flatten

  /** A shared lock is refused exactly when the server holds its exclusive one; those who look do not get in each
    * other's way.
    */
  private def isHeld(home: Path): Boolean =
    Files.exists(serverLock(home)) && {
      val channel = FileChannel.open(serverLock(home), StandardOpenOption.READ)
      try channel.tryLock(0, Long.MaxValue, true) == null
      catch { case _: OverlappingFileLockException => false }
      finally channel.close()
    }

  /** One `getStatus` call (fb303), by hand: 4 bytes version and type, name, sequence, empty struct. */
  private def answers(port: Int): Boolean = Try {
    val socket = new Socket()
    try {
      socket.connect(new InetSocketAddress("127.0.0.1", port), 2000)
      socket.setSoTimeout(5000)
      val name = "getStatus".getBytes(UTF_8)
      val call = ByteBuffer
        .allocate(4 + 4 + name.length + 4 + 1)
        .putInt(0x80010001)
        .putInt(name.length)
        .put(name)
        .putInt(1)
        .put(0: Byte)
      socket.getOutputStream.write(call.array)
      socket.getOutputStream.flush()
      ByteBuffer.wrap(socket.getInputStream.readNBytes(4)).getInt == 0x80010002
    } finally socket.close()
  }.getOrElse(false)

  private def start(home: Path, deadline: Long): State = {
    // Nobody holds server.lock and we hold start.lock: the state on disk is a dead server's. Keep its port, nothing else.
    val port = readState(home).map(_.port).getOrElse(0)
    writeState(home, State(0, port, "", ready = false, Instant.now.toString, "", ""))
    val log = logFile(home)
    if (Files.exists(log) && Files.size(log) > 8 * 1024 * 1024)
      Files.move(log, log.resolveSibling("log.1"), StandardCopyOption.REPLACE_EXISTING)
    val java = Paths.get(sys.props("java.home"), "bin", "java").toString
    val session = Seq("/usr/bin/setsid", "/bin/setsid").find(path => Files.isExecutable(Paths.get(path))).toList
    val command = session ++ List(
      java,
      "-Xmx512m",
      "-XX:+UseSerialGC",
      "-XX:TieredStopAtLevel=1",
      "-Djava.net.preferIPv4Stack=true",
      "-Dlog4j2.configurationFile=classpath:sfbatch-metastore-log4j2.properties",
      s"-Dderby.system.home=${metastoreDir(home)}",
      s"-Dderby.stream.error.file=${metastoreDir(home).resolve("derby.log")}"
    ) ++ javaOptions.toList.flatMap(_.trim.split("\\s+")).filter(_.nonEmpty) ++ List(
      "sfbatch.LocalMetastore",
      "serve"
    )
    val builder = new ProcessBuilder(command: _*)
      .directory(metastoreDir(home).toFile)
      .redirectErrorStream(true)
      .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile))
      .redirectInput(new File("/dev/null"))
    builder.environment.put("CLASSPATH", classPath)
    builder.environment.put("SFBATCH_HOME", home.toString)
    List(
      "JAVA_TOOL_OPTIONS",
      "_JAVA_OPTIONS",
      "JDK_JAVA_OPTIONS",
      "PYSPARK_GATEWAY_SECRET",
      "_PYSPARK_DRIVER_CONN_INFO_PATH"
    ).foreach(builder.environment.remove(_))
    // It serves others when the job that started it has ended, and must not be ended with it.
    builder.environment.keySet.removeIf(name => name.startsWith("GENIE_") || name == "SFBATCH_JOB_ID")
    val logStart = if (Files.exists(log)) Files.size(log) else 0L
    waitUntilReady(home, Some((builder.start(), logStart)), deadline)
  }

  private def waitUntilReady(home: Path, child: Option[(Process, Long)], deadline: Long): State = {
    while (System.nanoTime < deadline)
      find(home) match {
        case Some(state) => return state
        case None =>
          child.foreach { case (process, logStart) =>
            if (!process.isAlive) throw failed(home, logStart, "did not start")
          }
          Thread.sleep(50)
      }
    child.foreach { case (process, logStart) =>
      process.destroyForcibly();
      throw failed(home, logStart, "did not answer in time (is the machine busy? then run it again)")
    }
    throw unresponsive(home)
  }

  /** Our own jar and Spark's: the jar may have come by `spark.jars`, which is not on `java.class.path`. */
  private def classPath: String = {
    val own = new File(getClass.getProtectionDomain.getCodeSource.getLocation.toURI).getPath
    val spark = Try(
      new File(
        Class
          .forName("org.apache.hadoop.hive.metastore.HiveMetaStore")
          .getProtectionDomain
          .getCodeSource
          .getLocation
          .toURI
      )
    )
      .getOrElse(
        throw new SfBatchException(
          "SFBATCH_METASTORE_FAILED",
          "this Spark has no Hive classes, so no local metastore can be started. Use a Spark built with Hive (PySpark is), or set SFBATCH_METASTORE_URI."
        )
      )
    val siblings = Option(spark.getParentFile.list).getOrElse(Array.empty[String])
    if (siblings.exists(_.startsWith("spark-core"))) s"${spark.getParent}/*:$own"
    else s"$own:${sys.props("java.class.path")}"
  }

  private def javaOptions = sys.env.get("SFBATCH_METASTORE_JAVA_OPTIONS")

  private def failed(home: Path, logStart: Long, how: String): SfBatchException = {
    val all = Try(Files.readAllBytes(logFile(home))).getOrElse(Array.empty[Byte])
    val log = new String(all.drop(math.min(logStart, all.length.toLong).toInt), UTF_8)
    if (log.contains("XSLAN"))
      new SfBatchException(
        "SFBATCH_METASTORE_TOO_NEW",
        s"the local metastore under $home was made by the newer Derby of Spark 4; this Spark (${org.apache.spark.SPARK_VERSION}) cannot open it. Start it from the " +
          "Python environment that has PySpark 4 (`sfbatch metastore start`): once it runs, it serves both. Or set SFBATCH_HOME to another directory."
      )
    else
      new SfBatchException(
        "SFBATCH_METASTORE_FAILED",
        s"the local metastore under $home $how. The end of ${logFile(home)}:\n" +
          log.linesIterator.toVector.takeRight(20).mkString("\n") +
          javaOptions.fold("")(options => s"\nIt was started with SFBATCH_METASTORE_JAVA_OPTIONS=$options") +
          "\nSet SFBATCH_METASTORE_URI to use another metastore, SFBATCH_HOME for another directory."
      )
  }

  private def unresponsive(home: Path): SfBatchException = new SfBatchException(
    "SFBATCH_METASTORE_UNRESPONSIVE",
    s"a local metastore runs under $home but does not answer (${stateFile(home)}; log: ${logFile(home)}). " +
      "Stop it with `sfbatch metastore stop` and try again."
  )
}
