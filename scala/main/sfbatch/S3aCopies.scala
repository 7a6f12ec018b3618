package sfbatch

import java.io.{FileNotFoundException, IOException}
import java.util.concurrent.ConcurrentLinkedQueue
import org.apache.hadoop.fs.{FileSystem, Path}
import scala.collection.JavaConverters._
import scala.util.control.NonFatal

/** Copies that S3 makes itself, from one object of a bucket to another: no byte passes through here.
  *
  * Each is a multipart upload, as the magic committer's files are: tasks have its parts copied, the driver closes it.
  * Nobody sees one that is open, and one that is closed never changes; an object made by CopyObject may, when that was
  * sent twice.
  */
final class S3aCopies(fs: FileSystem) {
  import S3aCopies._

  private val client = S3aClient.of(fs)

  /** Whether S3 can: the file is in this bucket, and neither its encryption nor its checksums need more than a copy. */
  def canCopy(source: Path, bytes: Long): Boolean = {
    val from = source.toUri
    bytes > 0 && (from.getAuthority == null || from.getAuthority == fs.getUri.getAuthority) &&
    (from.getScheme == null || from.getScheme == fs.getUri.getScheme || from.getScheme.startsWith("s3")) &&
    client.canCopyParts
  }

  /** Uploads that hold the files' bytes, still open; Left where the store has no such request. When one fails, or
    * `stillWanted` throws, which is asked before each and at the end, those of this call are given up.
    *
    * @throws SfBatchException
    *   SFBATCH_STORE_FAILED, SFBATCH_NO_PERMISSION
    */
  def begin(files: Seq[OneFile])(stillWanted: => Unit): Seq[Either[OneFile, Upload]] = {
    val opened = new ConcurrentLinkedQueue[Upload]
    try {
      val begun = AtOnce.map(files, atOnceFrom = 2) { file =>
        stillWanted
        Store.guarded(s"cannot copy ${file.source}") {
          val upload = Upload(file.target, client.openUpload(key(file.target)), Nil, file.bytes)
          opened.add(upload)
          partsCopied(file, upload)
        }
      }
      stillWanted
      begun
    } catch { case e: Throwable => giveUp(opened.asScala.toSeq, e); throw e }
  }

  private def partsCopied(file: OneFile, upload: Upload): Either[OneFile, Upload] =
    try
      Right(upload.copy(etags = partsOf(file).map { range =>
        S3aStore.patiently(client.copyPart(key(file.source), key(file.target), upload.id, range.number, range.bytes))
      }))
    catch {
      case NonFatal(e) if S3aClient.status(e).contains(501) =>
        client.abortUpload(key(file.target), upload.id)
        Left(file)
      case NonFatal(e) if !e.isInstanceOf[IOException] && !e.isInstanceOf[SfBatchException] =>
        throw S3aStore.failed(new Path(file.target), e, S3aClient.status(e))
    }

  /** S3 takes parts of 5 MiB to 5 GiB, at most 10,000. One part is the whole object: a range of a small one is refused.
    */
  private def partsOf(file: OneFile): Seq[Part] = {
    val size = math.max(client.partBytes, file.bytes / 9999 + 1)
    if (file.bytes <= size) Seq(Part(1, None))
    else
      (0L until file.bytes by size).zipWithIndex.map { case (first, i) =>
        Part(i + 1, Some((first, math.min(first + size, file.bytes) - 1)))
      }
  }

  /** @throws SfBatchException SFBATCH_STORE_FAILED, SFBATCH_NO_PERMISSION */
  def close(uploads: Seq[Upload]): Unit = Store.guarded(s"cannot close the copies of ${uploads.size} files") {
    AtOnce.map(uploads, atOnceFrom = 2)(u => client.closeUpload(key(u.target), u.id, u.etags, u.bytes)); ()
  }

  /** Ends open uploads after `failure`, up to the first that cannot be: the bucket's lifecycle rule ends the others. */
  def giveUp(uploads: Seq[Upload], failure: Throwable): Unit =
    try {
      AtOnce.map(uploads, atOnceFrom = 2) { upload =>
        try client.abortUpload(key(upload.target), upload.id)
        catch { case _: FileNotFoundException => () } // closed, or given up before
      };
      ()
    } catch { case e @ (NonFatal(_) | _: InterruptedException) => failure.addSuppressed(e) }

  private def key(path: String): String = new Path(path).toUri.getPath.stripPrefix("/")
}

object S3aCopies {
  final case class OneFile(source: String, target: String, bytes: Long)
  final case class Upload(target: String, id: String, etags: Seq[String], bytes: Long)

  /** The first and the last byte; None: all. */
  private final case class Part(number: Int, bytes: Option[(Long, Long)])
}
