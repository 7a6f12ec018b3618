package sfbatch

import java.io.IOException
import java.nio.file.AccessDeniedException
import java.util.UUID
import java.util.concurrent.ConcurrentHashMap
import org.apache.hadoop.fs.{FileSystem, Path}
import scala.annotation.tailrec
import scala.util.Random
import scala.util.control.NonFatal

/** S3 through S3A: `PUT` with `If-None-Match: *`; must never take a name for its own that another caller created.
  *
  * Each call carries a nonce as the object's metadata: a PUT that was sent again (by us, or by the SDK below) is
  * refused by the first one's object, and the nonce says whose that is.
  */
private[sfbatch] final class S3aStore(fs: FileSystem) extends HadoopStore(fs) {
  import S3aStore._

  private lazy val client = S3aClient.of(fs)

  def createExclusive(path: Path, bytes: Array[Byte]): Boolean = Store.guarded(s"cannot create $path") {
    val created = put(path, key(path), bytes)
    if (created && !proven.contains(fs.getUri)) prove(path, bytes)
    created
  }

  /** A directory is there by its marker, an empty object; S3A, Hive and Trino list no file in it. */
  override def makeDirectory(path: Path): Unit = Store.guarded(s"cannot create $path") {
    put(path, key(path) + "/", Array.emptyByteArray); ()
  }

  private def key(path: Path): String = fs.makeQualified(path).toUri.getPath.stripPrefix("/")

  /** A store that does not know the header would give one name to two writers. Once per bucket and process: what was
    * just created must be refused.
    */
  private def prove(path: Path, bytes: Array[Byte]): Unit = {
    if (put(path, key(path), bytes))
      throw Store.unsupported(
        s"${fs.getUri}: this store ignores If-None-Match, so two writers could take one name. Put the table on a store that serves conditional writes, as Amazon S3 does."
      )
    proven.add(fs.getUri)
    ()
  }

  private def put(path: Path, key: String, bytes: Array[Byte]): Boolean = {
    val nonce = UUID.randomUUID().toString
    def open(e: Throwable, status: Option[Int]) = status.forall(unclear) || S3aClient.sentBefore(e)
    @tailrec def attempt(number: Int, unanswered: Boolean): Boolean =
      answer(client.putIfAbsent(key, bytes, Nonce -> nonce)) match {
        case Right(_) => true
        case Left((_, Some(412))) => holds(path, nonce)
        case Left((e, Some(501))) => throw Store.unsupported(s"${fs.getUri}: ${e.getMessage}", e)
        case Left((e, status)) if number < Attempts && status.forall(passing) =>
          pause(number)
          attempt(number + 1, unanswered || open(e, status))
        case Left((e, status)) if unanswered || open(e, status) => throw new NoAnswer(e.getMessage, e)
        case Left((e, status)) => throw failed(path, e, status)
      }
    attempt(1, unanswered = false)
  }

  override def read(path: Path): Option[Array[Byte]] = Store.guarded(s"cannot read $path") {
    answer(patiently(client.get(key(path)))) match {
      case Right(bytes) => Some(bytes)
      // No other 404: of a bucket, or from something before S3, says nothing about the object.
      case Left((e, Some(404))) if S3aClient.errorCode(e).contains("NoSuchKey") => None
      case Left((e, status)) => throw failed(path, e, status)
    }
  }

  /** Left: what the SDK threw, and the HTTP status of it, if there was an answer. */
  private def answer[T](request: => T): Either[(Throwable, Option[Int]), T] =
    try Right(request)
    catch {
      case e: SfBatchException => throw e
      case NonFatal(e) => Left(e -> S3aClient.status(e))
    }

  /** Somebody has the name. Where it cannot be seen who, it may be us. */
  private def holds(path: Path, nonce: String): Boolean =
    try Option(fs.getXAttr(path, s"header.$Nonce")).exists(bytes => new String(bytes, "UTF-8") == nonce)
    catch { case e: IOException => throw new NoAnswer(e.getMessage, e) }
}

private[sfbatch] object S3aStore {
  private val Nonce = "sfbatch-nonce"
  private val Attempts = 8
  private val AttemptsUnheard = 3 // on top of the SDK's own
  private val proven = ConcurrentHashMap.newKeySet[java.net.URI]()

  /** Worth another try: a conflict with a PUT under way (ConditionalRequestConflict), throttling, a server in trouble.
    * No status at all, that is no answer, is too.
    */
  private def passing(status: Int): Boolean = status == 409 || status == 429 || (unclear(status) && status != 501)

  private def pause(number: Int): Unit = Thread.sleep((50L << number) + Random.nextInt(100))

  /** A request that may be sent twice, and is where another try is worth it. Throws what the SDK throws. */
  @tailrec def patiently[T](request: => T, number: Int = 1): T =
    (try Right(request)
    catch { case NonFatal(e) if number < attempts(e) && !Thread.currentThread.isInterrupted => Left(e) }) match {
      case Right(answer) => answer
      case Left(_) =>
        pause(number)
        patiently(request, number + 1)
    }

  private def attempts(e: Throwable): Int = S3aClient.status(e) match {
    case _ if e.isInstanceOf[SfBatchException] => 1
    case None => AttemptsUnheard
    // A copy's answer is 200 at once; the SDK v1 throws what the body then says, SlowDown perhaps.
    case Some(status) => if (passing(status) || status == 200) Attempts else 1
  }

  /** What Hadoop would throw. */
  def failed(path: Path, e: Throwable, status: Option[Int]): IOException =
    if (status.contains(403)) {
      val denied = new AccessDeniedException(path.toString, null, e.getMessage)
      denied.initCause(e)
      denied
    } else new IOException(e.getMessage, e)

  /** The object may be made all the same, by now or soon. */
  private def unclear(status: Int): Boolean = status >= 500
}
