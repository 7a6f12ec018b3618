package sfbatch

import java.util.UUID
import org.apache.hadoop.fs.{FileAlreadyExistsException, FileContext, FileSystem, Options, Path}
import scala.util.control.NonFatal

/** HDFS: a temporary file, hsync, and a rename that refuses to overwrite, which the name node decides in one step. */
private[sfbatch] final class HdfsStore(fs: FileSystem) extends HadoopStore(fs) {
  private lazy val context = FileContext.getFileContext(fs.getUri, fs.getConf)

  def createExclusive(path: Path, bytes: Array[Byte]): Boolean = Store.guarded(s"cannot create $path") {
    val temporary = new Path(path.getParent, s"_${path.getName}.${UUID.randomUUID()}.tmp")
    try {
      val out = fs.create(temporary, false) // makes the parents
      try {
        out.write(bytes)
        out.hsync()
      } finally out.close()
      context.rename(temporary, path, Options.Rename.NONE)
      true
    } catch {
      case _: FileAlreadyExistsException if fs.exists(path) => false
    } finally
      try fs.delete(temporary, false)
      catch { case NonFatal(_) => () }
  }
}
