package sfbatch

import java.util.{List => JList}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.hive.conf.HiveConf
import org.apache.hadoop.hive.metastore.HiveMetaStoreClient
import org.apache.hadoop.hive.metastore.api.{
  Database,
  EnvironmentContext,
  Partition => HivePartition,
  Table => HiveTable,
  _
}
import org.apache.thrift.TException
import org.apache.thrift.transport.TTransportException
import scala.collection.JavaConverters._

/** How a change of the metastore went, when it did not simply go well. */
sealed abstract class MetastoreFailure(message: String, cause: Throwable) extends Exception(message, cause)

/** The answer did not come: it may have happened, or happen later. Never a refusal. */
final class Unclear(cause: Throwable) extends MetastoreFailure(Metastore.why(cause), cause)

/** The metastore said no. */
final class Refused(cause: Throwable)
    extends MetastoreFailure(s"${cause.getClass.getSimpleName}: ${cause.getMessage}", cause)

/** The metastore said no for want of rights. */
final class Denied(cause: Throwable) extends MetastoreFailure(String.valueOf(cause.getMessage), cause)

/** Others dropped these partitions meanwhile: what is being shown would bring them back. */
final class Vanished(val values: Set[Seq[String]])
    extends MetastoreFailure(s"dropped by others: ${values.map(_.mkString("/")).mkString(", ")}", null)

/** A later version is shown already: the journal must be listed again before anything is concluded. */
final class Overtaken extends MetastoreFailure("a later version is shown", null)

/** One connection to the Hive Metastore, without a retrying client: a change is sent once, reads are tried again. Not
  * thread-safe.
  *
  * Speaks thrift as Hive 2.3's client does, and of its calls those that servers 2.3 to 4.0 have: 4.0 has no
  * `get_table`. `patienceS`: how long a read waits for a server that is not there; an operation that begins should say
  * so soon, one that has written files waits for a restart.
  */
final class Metastore(hiveConf: HiveConf, patienceS: Long = Metastore.RetrySeconds) extends AutoCloseable {

  /** How long a change without an answer is looked for before its sender gives up. */
  val unclearMs: Long = hiveConf.getLong("sfbatch.publish.timeout-ms", 120000)

  private var connected: Option[(HiveMetaStoreClient, ThriftHiveMetastore.Iface)] = None

  private def client: ThriftHiveMetastore.Iface = connected match {
    case Some((_, iface)) => iface
    case None =>
      val opened = new HiveMetaStoreClient(hiveConf)
      val iface = Metastore.ifaceOf(opened)
      connected = Some((opened, iface))
      iface
  }

  def close(): Unit = {
    connected.foreach { case (opened, _) =>
      try opened.close()
      catch { case scala.util.control.NonFatal(_) => () }
    }
    connected = None
  }

  /** A read, or a call that is harmless twice: again after trouble, for `patienceS`. */
  def read[T](call: ThriftHiveMetastore.Iface => T): T = {
    val started = System.nanoTime()
    // A server that answers "error" may be waiting for its database: again, but not for long.
    def givesUp(e: Exception) =
      System.nanoTime() > started + (if (Metastore.isAnswer(e)) Metastore.RetryAnsweredSeconds
                                     else patienceS) * 1000000000L
    def attempt(pauseMs: Long): T =
      try call(client)
      catch {
        case e @ (_: NoSuchObjectException | _: NoSuchLockException | _: NoSuchTxnException | _: TxnAbortedException |
            _: UnknownTableException | _: UnknownDBException) =>
          throw e
        case e: Exception =>
          close()
          if (givesUp(e))
            throw new SfBatchException(
              "SFBATCH_METASTORE_DOWN",
              s"the metastore at ${hiveConf.get("hive.metastore.uris", "(in process)")} ${if (Metastore.isAnswer(e)) "answers with an error"
                else "does not answer"} (${Metastore.why(e)}). Start it, or set hive.metastore.uris or SFBATCH_METASTORE_URI.",
              e
            )
          Thread.sleep(pauseMs)
          attempt(math.min(pauseMs * 2, 5000))
      }
    attempt(200)
  }

  /** A change, sent once. @throws Unclear, Refused, Denied */
  def change[T](call: ThriftHiveMetastore.Iface => T): T = {
    val connectedClient =
      try client
      catch { case e: Exception => close(); throw new Unclear(e) }
    try call(connectedClient)
    catch {
      case e: TException if !Metastore.isTransport(e) =>
        throw (if (Metastore.isDenied(e)) new Denied(e) else new Refused(e))
      case e: Exception => close(); throw new Unclear(e)
    }
  }

  def table(database: String, name: String): Option[HiveTable] = read { c =>
    try Some(c.get_table_req(new GetTableRequest(database, name)).getTable)
    catch { case _: NoSuchObjectException => None }
  }

  def database(name: String): Option[Database] = read { c =>
    try Some(c.get_database(name))
    catch { case _: NoSuchObjectException => None }
  }

  /** Every table of a database, by 100 a request: for what is rare. */
  def tables(database: String): Iterator[HiveTable] = read(_.get_all_tables(database)).asScala.toSeq
    .grouped(100)
    .flatMap { names =>
      val request = new GetTablesRequest(database)
      request.setTblNames(names.asJava)
      read(_.get_table_objects_by_name_req(request)).getTables.asScala
    }

  /** values -> partition, of those that exist; by 1,000 names a request.
    *
    * @throws SfBatchException
    *   SFBATCH_UNKNOWN_TABLE; SFBATCH_BAD_PARTITION_VALUE where its database has no such characters
    */
  def partitions(database: String, table: String, names: Seq[String]): Map[Seq[String], HivePartition] =
    try
      names
        .grouped(Metastore.ReadAtOnce)
        .flatMap(some => read(_.get_partitions_by_names(database, table, some.asJava)).asScala)
        .map(p => p.getValues.asScala.toList -> p)
        .toMap[Seq[String], HivePartition]
    catch {
      case _: NoSuchObjectException => throw Errors.unknownTable(database, table)
      case e: SfBatchException if Metastore.isAnswer(e.getCause) && cannotHold(database, table, names) =>
        throw new SfBatchException(
          "SFBATCH_BAD_PARTITION_VALUE",
          s"the metastore's database holds partition names as latin1, and cannot hold ${names.filterNot(Metastore.isLatin1).take(3).mkString("'", "', '", "'")}. Change the values, or have PARTITIONS.PART_NAME, PARTITION_KEY_VALS.PART_KEY_VAL and SDS.LOCATION made utf8mb4 with the collation utf8mb4_bin.",
          e
        )
    }

  /** Hive 2.3 and 3.1 do not say what their database said; that they answer the same request about other names does. */
  private def cannotHold(database: String, table: String, names: Seq[String]): Boolean = {
    def answers(some: Seq[String]) =
      try { client.get_partitions_by_names(database, table, some.asJava); true }
      catch { case _: TException => close(); false }
    val beyond = names.filterNot(Metastore.isLatin1)
    beyond.nonEmpty && answers(Seq("any=name")) && !answers(beyond.take(Metastore.ReadAtOnce))
  }

  def allPartitionNames(database: String, table: String): Seq[String] =
    read(_.get_partition_names(database, table, -1)).asScala.toSeq

  def addPartitions(parts: Seq[HivePartition]): Unit = { change(_.add_partitions(parts.asJava)); () }

  def alterPartitions(database: String, table: String, parts: Seq[HivePartition]): Unit =
    change(_.alter_partitions_with_environment_context(database, table, parts.asJava, Metastore.noStatistics))

  def dropPartitions(database: String, table: String, names: Seq[String]): Unit = {
    val spec = new RequestPartsSpec
    spec.setNames(names.asJava: JList[String])
    val request = new DropPartitionsRequest(database, table, spec)
    request.setDeleteData(false)
    request.setIfExists(true)
    request.setNeedResult(false)
    change(_.drop_partitions_req(request))
    ()
  }

  def createTable(table: HiveTable): Unit = change(_.create_table(table))

  def alterTable(database: String, name: String, table: HiveTable): Unit =
    change(_.alter_table_with_environment_context(database, name, table, Metastore.noStatistics))
}

object Metastore {
  val RetrySeconds = 60L
  val RetryAtFirstSeconds = 8L
  val RetryAnsweredSeconds = 8L
  val ReadAtOnce = 1000

  private val noStatistics = new EnvironmentContext(Map("DO_NOT_UPDATE_STATS" -> "true").asJava)

  /** @throws SfBatchException SFBATCH_GLUE_UNSUPPORTED */
  def hiveConf(conf: Configuration): HiveConf = {
    val factory = conf.get("hive.metastore.client.factory.class", "")
    if (factory.toLowerCase.contains("glue"))
      throw new SfBatchException(
        "SFBATCH_GLUE_UNSUPPORTED",
        s"hive.metastore.client.factory.class = $factory: the Glue catalog has neither locks nor atomic changes of many partitions. Use a Hive Metastore (hive.metastore.uris)."
      )
    val hive = new HiveConf(conf, classOf[HiveConf])
    // A publish must never be sent twice by the transport below us.
    hive.setInt("hive.metastore.failure.retries", 0)
    hive
  }

  private def ifaceOf(client: HiveMetaStoreClient): ThriftHiveMetastore.Iface = {
    val field = classOf[HiveMetaStoreClient].getDeclaredField("client")
    field.setAccessible(true)
    field.get(client).asInstanceOf[ThriftHiveMetastore.Iface]
  }

  /** Hive puts whole stack traces into messages, and what a database said at their end. */
  private[sfbatch] def why(e: Throwable): String = {
    val lines = String.valueOf(e.getMessage).split('\n').map(_.trim)
    lines.find(_.startsWith("Root cause: ")).getOrElse(lines.head).take(500)
  }

  private def isLatin1(name: String) = java.nio.charset.Charset.forName("windows-1252").newEncoder.canEncode(name)

  private def isAnswer(e: Throwable) = !isTransport(e) && !isConnect(e)

  private def isTransport(e: Throwable): Boolean =
    e.isInstanceOf[TTransportException] || e.isInstanceOf[org.apache.thrift.protocol.TProtocolException] || !e
      .isInstanceOf[TException]

  private def isConnect(e: Throwable): Boolean =
    e.isInstanceOf[MetaException] && String.valueOf(e.getMessage).startsWith("Could not connect to meta store")

  private val denials = Seq(
    "permission denied",
    "accesscontrolexception",
    "not authorized",
    "does not have",
    "no privilege",
    "read-only",
    "readonly",
    "hiveaccesscontrol"
  )

  private def isDenied(e: Throwable): Boolean = e match {
    case _: AlreadyExistsException | _: NoSuchObjectException | _: InvalidObjectException =>
      false // they quote names and values, of any text
    case _ => denials.exists(s"$e".toLowerCase.contains)
  }
}
