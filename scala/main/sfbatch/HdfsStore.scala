package sfbatch

import java.io.IOException
import java.util.UUID
import org.apache.hadoop.fs.{FileSystem, Path}
import scala.util.control.NonFatal

/** HDFS: a temporary file, hsync, and a rename, which the NameNode refuses when the name is taken; must never call a
  * create failed that may still be made.
  *
  * `create(overwrite = false)` takes the name first and has the bytes later: readers would see half a file, and a
  * writer that died there would leave an empty version for ever.
  */
private[sfbatch] final class HdfsStore(fs: FileSystem) extends HadoopStore(fs) {

  def createExclusive(path: Path, bytes: Array[Byte]): Boolean = Store.guarded(s"cannot create $path") {
    val temporary = new Path(path.getParent, s"_${path.getName}.${UUID.randomUUID()}.tmp")
    fs.mkdirs(path.getParent)
    try {
      val out = fs.create(temporary, false)
      try {
        out.write(bytes)
        out.hsync()
      } finally out.close()
    } catch { case NonFatal(e) => discard(temporary); throw e }
    val renamed =
      try fs.rename(temporary, path)
      catch { case e: IOException => settled(temporary, path, bytes, e) }
    if (!renamed) {
      discard(temporary)
      if (!fs.exists(path)) throw new IOException(s"the rename of $temporary was refused")
    }
    renamed
  }

  /** The rename has not answered, or said no. Its source bears a name that nobody else has: once we have deleted it,
    * the rename is not made and cannot be; is it gone already, the rename was.
    */
  private def settled(temporary: Path, path: Path, bytes: Array[Byte], failure: IOException): Boolean =
    try
      if (fs.delete(temporary, false)) { if (fs.exists(path)) false else throw failure }
      else read(path).getOrElse(throw new NoAnswer(failure.getMessage, failure)).sameElements(bytes)
    catch {
      case e: IOException if e ne failure => throw new NoAnswer(failure.getMessage, failure)
      case _: SfBatchException => throw new NoAnswer(failure.getMessage, failure) // read's
    }

  private def discard(temporary: Path): Unit =
    try { fs.delete(temporary, false); () }
    catch { case NonFatal(_) => () }
}
