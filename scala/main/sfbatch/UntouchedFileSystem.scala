package sfbatch

import java.io.IOException
import java.net.URI
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FSDataInputStream, FSDataOutputStream, FileStatus, FileSystem, Path}
import org.apache.hadoop.fs.permission.FsPermission
import org.apache.hadoop.util.Progressable

/** S3 as the local metastore sees it: every directory is there already; must never reach the store.
  *
  * A metastore looks whether a location is there and makes it if not. Our writers have made it: so this server needs
  * neither hadoop-aws nor keys. A stock Hive table's directory has to be made by hand, and its files stay when it is
  * dropped.
  */
final class UntouchedFileSystem extends FileSystem {
  private var uri: URI = _

  override def initialize(name: URI, conf: Configuration): Unit = {
    super.initialize(name, conf)
    uri = URI.create(s"${name.getScheme}://${name.getAuthority}")
  }

  override def getUri: URI = uri
  override def getWorkingDirectory: Path = new Path("/")
  override def setWorkingDirectory(directory: Path): Unit = ()
  override def getFileStatus(path: Path): FileStatus = new FileStatus(0, true, 1, 0, 0, makeQualified(path))
  override def listStatus(path: Path): Array[FileStatus] = Array.empty
  override def mkdirs(path: Path, permission: FsPermission): Boolean = true

  override def open(path: Path, bufferSize: Int): FSDataInputStream = refuse(path)
  override def append(path: Path, bufferSize: Int, progress: Progressable): FSDataOutputStream = refuse(path)
  override def rename(from: Path, to: Path): Boolean = refuse(from)
  override def delete(path: Path, recursive: Boolean): Boolean = refuse(path)
  override def create(
      path: Path,
      permission: FsPermission,
      overwrite: Boolean,
      bufferSize: Int,
      replication: Short,
      blockSize: Long,
      progress: Progressable
  ): FSDataOutputStream = refuse(path)

  private def refuse(path: Path) = throw new IOException(s"$path: the local metastore does not touch S3")
}
