package sfbatch

import java.net.InetAddress
import java.util.concurrent.{Executors, TimeUnit}
import java.util.concurrent.locks.ReentrantLock
import org.apache.hadoop.hive.metastore.api._
import scala.collection.JavaConverters._
import scala.collection.mutable
import scala.util.control.NonFatal

/** Keeps writers of one table apart, through the metastore's lock API; blocks no reader, and safety never rests on it.
  *
  * A dead holder's lock may never expire (the metastore's reaper often does not run), so a waiter that has itself seen
  * a holder not heartbeat for three of the holder's intervals unlocks it: safe, because a version is committed by an
  * exclusive create.
  */
final class TableLock(
    metastore: Metastore,
    newMetastore: () => Metastore,
    tableId: String,
    caller: Caller,
    settings: TableLock.Settings
) {
  private val nonce = java.util.UUID.randomUUID().toString
  private var held: Option[Long] = None
  private var heart: Option[Heart] = None

  /** @throws SfBatchException SFBATCH_LOCK_TIMEOUT, SFBATCH_LOCKS_UNAVAILABLE */
  def acquire(): Unit = {
    val id = request()
    held = Some(id)
    try {
      waitFor(id)
      heart = Some(new Heart(id))
    } catch {
      case _: NoSuchLockException => held = None; acquire() // taken for dead while we waited: queue again
      case e: Throwable => release(); throw e // an interrupt too
    }
  }

  def release(): Unit = {
    heart.foreach(_.close())
    heart = None
    held.foreach { id =>
      try
        metastore.read { c =>
          try c.unlock(new UnlockRequest(id))
          catch { case _: NoSuchLockException => () }
        }
      catch {
        case e @ (NonFatal(_) | _: InterruptedException) => // what the body came to must not be lost
          TableLock.log.warn(
            s"lock $id of table $tableId was not released (${e.getMessage}); it will be taken for dead."
          )
          if (e.isInstanceOf[InterruptedException]) Thread.currentThread.interrupt()
      }
    }
    held = None
  }

  private def request(): Long = {
    val component = new LockComponent(LockType.EXCLUSIVE, LockLevel.TABLE, TableLock.Database)
    component.setTablename(TableLock.pseudoTable(tableId))
    component.setOperationType(DataOperationType.NO_TXN)
    val request = new LockRequest(java.util.Collections.singletonList(component), caller.user, caller.host)
    request.setAgentInfo(s"sfbatch:$nonce:${settings.heartbeatMs}")
    var sent = false
    try
      metastore.read { c =>
        // The answer to an earlier attempt may have been lost: the nonce finds our own lock.
        val lost =
          if (sent) others(c, _ => true).find(_.getAgentInfo == request.getAgentInfo).map(_.getLockid) else None
        sent = true
        lost.getOrElse(c.lock(request).getLockid)
      }
    catch {
      case e: SfBatchException
          if e.getCause != null && !e.getCause.isInstanceOf[org.apache.thrift.transport.TTransportException] && String
            .valueOf(e.getCause.getMessage)
            .toUpperCase
            .contains("HIVE_LOCKS") =>
        throw new SfBatchException(
          "SFBATCH_LOCKS_UNAVAILABLE",
          s"the metastore has no lock tables (${e.getCause.getMessage}). Create its transaction schema (hive-txn-schema of its version).",
          e
        )
    }
  }

  private def others(
      c: ThriftHiveMetastore.Iface,
      which: ShowLocksResponseElement => Boolean
  ): Seq[ShowLocksResponseElement] = {
    val request = new ShowLocksRequest
    request.setDbname(TableLock.Database)
    request.setTablename(TableLock.pseudoTable(tableId))
    Option(c.show_locks(request).getLocks).map(_.asScala.toSeq).getOrElse(Seq.empty).filter { l =>
      l.getTablename != null && l.getTablename.equalsIgnoreCase(TableLock.pseudoTable(tableId)) && which(l)
    }
  }

  private def waitFor(id: Long): Unit = {
    val started = System.nanoTime()
    val seen = mutable.Map.empty[Long, TableLock.Seen]
    var pauseMs = 20L
    var lookedAt = 0L
    var toldAt = started
    def state(): LockState = metastore.read(_.check_lock(new CheckLockRequest(id))).getState
    while (state() != LockState.ACQUIRED) {
      val now = System.nanoTime()
      if (now - lookedAt > TimeUnit.MILLISECONDS.toNanos(math.min(settings.heartbeatMs / 2, 1000))) {
        lookedAt = now
        val ahead = metastore.read(c => others(c, _.getLockid < id))
        ahead.foreach { lock =>
          val interval = Option(lock.getAgentInfo)
            .map(_.split(':'))
            .collect { case Array("sfbatch", _, ms) if ms.forall(_.isDigit) => ms.toLong }
            .getOrElse(settings.heartbeatMs)
          seen.get(lock.getLockid) match {
            case Some(TableLock.Seen(heartbeat, since)) if heartbeat == lock.getLastheartbeat =>
              if (now - since > TimeUnit.MILLISECONDS.toNanos(3 * interval)) {
                TableLock.log.warn(
                  s"taking the lock of table $tableId from ${lock.getUser}@${lock.getHostname}, which has not shown life for ${3 * interval} ms."
                )
                metastore.read { c =>
                  try c.unlock(new UnlockRequest(lock.getLockid))
                  catch { case _: NoSuchLockException => () }
                }
                seen.remove(lock.getLockid)
              }
            case _ => seen(lock.getLockid) = TableLock.Seen(lock.getLastheartbeat, now)
          }
        }
        if (now - toldAt > TimeUnit.SECONDS.toNanos(10)) {
          toldAt = now
          TableLock.log.warn(
            s"waiting ${TimeUnit.NANOSECONDS.toSeconds(now - started)} s for the lock of table $tableId; before us: ${ahead.map(l => s"${l.getUser}@${l.getHostname}").mkString(", ")}"
          )
        }
        if (now - started > TimeUnit.MILLISECONDS.toNanos(settings.timeoutMs))
          throw new SfBatchException(
            "SFBATCH_LOCK_TIMEOUT",
            s"no lock on table $tableId after ${settings.timeoutMs / 1000} s; before us: ${ahead.map(l => s"${l.getUser}@${l.getHostname}").mkString(", ")}. Nothing was published; run again, or raise sfbatch.lock.timeout-ms."
          )
      }
      Thread.sleep(pauseMs)
      pauseMs = math.min(pauseMs * 2, 200)
    }
  }

  /** Beats from a daemon thread with a connection of its own, opened when the first beat is due. Nobody waits for a
    * beat that hangs: that thread closes its connection itself.
    */
  private final class Heart(id: Long) extends AutoCloseable {
    private var own: Option[Metastore] = None
    private val timer = Executors.newSingleThreadScheduledExecutor { (r: Runnable) =>
      val thread = new Thread(r, s"sfbatch-heartbeat-$id")
      thread.setDaemon(true)
      thread
    }
    private val beats =
      timer.scheduleWithFixedDelay(() => beat(), settings.heartbeatMs, settings.heartbeatMs, TimeUnit.MILLISECONDS)

    private def beat(): Unit =
      try {
        val metastore = own.getOrElse(newMetastore())
        own = Some(metastore)
        val request = new HeartbeatRequest
        request.setLockid(id)
        metastore.read(_.heartbeat(request))
      } catch {
        case NonFatal(e) =>
          if (!timer.isShutdown) TableLock.log.warn(s"lock $id of table $tableId: no heartbeat (${e.getMessage})")
      }

    def close(): Unit = {
      beats.cancel(true)
      timer.execute(() => own.foreach(_.close()))
      timer.shutdown()
    }
  }
}

object TableLock {
  private val log = org.slf4j.LoggerFactory.getLogger("sfbatch.TableLock")
  val Database = "sfbatch"
  def pseudoTable(tableId: String): String = s"$tableId#sfbatch"

  private final case class Seen(heartbeat: Long, sinceNanos: Long)

  final case class Settings(heartbeatMs: Long, timeoutMs: Long)

  object Settings {
    def of(conf: org.apache.hadoop.conf.Configuration): Settings =
      Settings(conf.getLong("sfbatch.lock.heartbeat-ms", 5000), conf.getLong("sfbatch.lock.timeout-ms", 600000))
  }

  /** Runs `body` with the table locked. A metastore inside this process has no lock tables to rely on: a mutex then. */
  def holding[T](
      metastore: Metastore,
      newMetastore: () => Metastore,
      remote: Boolean,
      tableId: String,
      caller: Caller,
      settings: Settings
  )(body: => T): T = {
    // Within one process no two threads wait at the metastore for each other.
    val mutex = mutexes.computeIfAbsent(tableId, _ => new ReentrantLock(true))
    if (!mutex.tryLock(settings.timeoutMs, TimeUnit.MILLISECONDS))
      throw new SfBatchException(
        "SFBATCH_LOCK_TIMEOUT",
        s"no lock on table $tableId after ${settings.timeoutMs / 1000} s; before us: another thread of this driver. Nothing was published; run again, or raise sfbatch.lock.timeout-ms."
      )
    try
      if (!remote) body
      else {
        val lock = new TableLock(metastore, newMetastore, tableId, caller, settings)
        lock.acquire()
        try body
        finally lock.release()
      }
    finally mutex.unlock()
  }
  private val mutexes = new java.util.concurrent.ConcurrentHashMap[String, ReentrantLock]()
  def localHost: String = try InetAddress.getLocalHost.getHostName
  catch { case NonFatal(_) => "unknown" }
}
