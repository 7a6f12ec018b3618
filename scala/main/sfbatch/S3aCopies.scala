package sfbatch

import java.io.IOException
import org.apache.hadoop.fs.{FileSystem, Path}
import scala.util.control.NonFatal

/** Copies that S3 makes itself, from one object of a bucket to another: no byte passes through here. Each is a
  * multipart upload, as the magic committer's files are; a copy must never come to be, or change, after [[copy]] has
  * returned, which a CopyObject that is sent twice may.
  */
final class S3aCopies(fs: FileSystem) {
  import S3aCopies._

  private val client = S3aClient.of(fs)

  /** Whether S3 can: the file is in this bucket, and S3 has its key. */
  def canCopy(source: Path, bytes: Long): Boolean = {
    val from = source.toUri
    bytes > 0 && (from.getAuthority == null || from.getAuthority == fs.getUri.getAuthority) &&
    (from.getScheme == null || from.getScheme == fs.getUri.getScheme || from.getScheme.startsWith("s3")) &&
    client.copiesKeepEncryption
  }

  /** False where the store has no such request; then nothing was copied. When one fails, the open ones are given up.
    *
    * @throws SfBatchException
    *   SFBATCH_STORE_FAILED, SFBATCH_NO_PERMISSION
    */
  def copy(files: Seq[OneFile]): Boolean = Store.guarded(s"cannot copy ${files.size} files within ${fs.getUri}") {
    val uploads = AtOnce.map(files, atOnceFrom = 2)(file => file -> client.openUpload(key(file.target)))
    try {
      val parts = uploads.flatMap { case (file, upload) => partsOf(file).map((file, upload, _)) }
      val copied = AtOnce.map(parts, atOnceFrom = 2) { case (file, upload, part) =>
        upload -> S3aStore.patiently {
          client.copyPart(key(file.source), key(file.target), upload, part.number, part.first, part.last)
        }
      }
      val of = copied.groupBy(_._1).map { case (upload, parts) => upload -> parts.map(_._2) }
      AtOnce.map(uploads, atOnceFrom = 2) { case (file, upload) =>
        client.closeUpload(key(file.target), upload, of(upload), file.bytes)
      }
      true
    } catch {
      case e: Throwable =>
        uploads.foreach { case (file, upload) =>
          try client.abortUpload(key(file.target), upload)
          catch { case NonFatal(second) => e.addSuppressed(second) }
        }
        val status = S3aClient.status(e)
        e match {
          case NonFatal(_) if status.contains(501) => false
          case NonFatal(_) if !e.isInstanceOf[IOException] => throw S3aStore.failed(files.head.target, e, status)
          case _ => throw e
        }
    }
  }

  private def key(path: Path): String = path.toUri.getPath.stripPrefix("/")
}

object S3aCopies {
  private val PartBytes = 1L << 30 // S3 takes 5 MiB to 5 GiB, the last one may be smaller

  final case class OneFile(source: Path, target: Path, bytes: Long)
  private final case class Part(number: Int, first: Long, last: Long)

  private def partsOf(file: OneFile): Seq[Part] =
    (0L until file.bytes by PartBytes).zipWithIndex.map { case (first, i) =>
      Part(i + 1, first, math.min(first + PartBytes, file.bytes) - 1)
    }
}
