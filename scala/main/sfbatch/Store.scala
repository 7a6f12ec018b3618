package sfbatch

import java.io.{FileNotFoundException, IOException}
import java.nio.channels.FileChannel
import java.nio.file.attribute.PosixFilePermissions
import java.nio.file.{AccessDeniedException, FileAlreadyExistsException, Files, Paths, StandardOpenOption}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.permission.FsPermission
import org.apache.hadoop.fs.{FileStatus, FileSystem, Path, UnsupportedFileSystemException}
import org.apache.hadoop.security.AccessControlException
import scala.util.control.NonFatal

/** The few file operations the protocol rests on; must never overwrite or delete anything of a table. */
trait Store {

  /** True for exactly one caller, ever; no reader sees half a file. Parents are made.
    *
    * @throws SfBatchException
    *   SFBATCH_STORE_FAILED, SFBATCH_NO_PERMISSION: reading tells whether it was created, unless the cause is a
    *   [[NoAnswer]]
    */
  def createExclusive(path: Path, bytes: Array[Byte]): Boolean

  /** None when there is no such file. */
  def read(path: Path): Option[Array[Byte]]

  /** What lies directly under `directory`, hidden names too; empty when there is no such directory. */
  def list(directory: Path): Seq[FileStatus]
  def exists(path: Path): Boolean

  /** With its parents. */
  def makeDirectory(path: Path): Unit
  def qualified(path: Path): Path
}

object Store {

  /** @throws SfBatchException SFBATCH_STORE_UNSUPPORTED where exclusive creation is not to be had */
  def of(path: Path, conf: Configuration): Store = {
    val fs = fileSystem(path, conf)
    if (isS3a(fs)) new S3aStore(fs)
    else if (fs.getUri.getScheme == "file") new LocalStore(fs)
    else if (isHdfs(fs)) new HdfsStore(fs)
    else
      throw unsupported(
        s"'$path': a table cannot lie on ${fs.getClass.getName} (${fs.getUri.getScheme}://), where no file can be created exclusively. Put its LOCATION on file://, hdfs:// or s3a://."
      )
  }

  /** Not a view of several stores, whose renames may look and then act. */
  private def isHdfs(fs: FileSystem): Boolean =
    isA(fs, "org.apache.hadoop.hdfs.DistributedFileSystem") && !isA(
      fs,
      "org.apache.hadoop.hdfs.ViewDistributedFileSystem"
    )

  /** Also where `s3://` is mapped to it. */
  def isS3a(fs: FileSystem): Boolean = isA(fs, "org.apache.hadoop.fs.s3a.S3AFileSystem")

  private def isA(fs: FileSystem, name: String): Boolean =
    Iterator.iterate[Class[_]](fs.getClass)(_.getSuperclass).takeWhile(_ != null).exists(_.getName == name)

  private def fileSystem(path: Path, conf: Configuration): FileSystem =
    try path.getFileSystem(conf)
    catch {
      case e: UnsupportedFileSystemException => throw unsupported(s"'$path': ${e.getMessage}.", e)
      case e: RuntimeException if e.getCause.isInstanceOf[ClassNotFoundException] =>
        throw unsupported(
          s"'$path': ${e.getCause.getMessage}. Give Spark the jar of that file system; for s3a:// hadoop-aws of Spark's Hadoop, ${org.apache.hadoop.util.VersionInfo.getVersion}, and its AWS SDK.",
          e
        )
    }

  def unsupported(detail: String, cause: Throwable = null) =
    new SfBatchException("SFBATCH_STORE_UNSUPPORTED", detail, cause)

  /** File system trouble in the product's words; everything else as it is. */
  def guarded[T](what: => String)(body: => T): T =
    try body
    catch {
      case e @ (_: AccessDeniedException | _: AccessControlException) => throw denied(what, e)
      case e: FileNotFoundException if String.valueOf(e.getMessage).contains("Permission denied") =>
        throw denied(what, e)
      case e: IOException if String.valueOf(e.getMessage).contains("Permission denied") => throw denied(what, e)
      case e: IOException =>
        throw new SfBatchException(
          "SFBATCH_STORE_FAILED",
          s"$what: ${said(e)}.",
          e,
          "Readers see whole versions as before; mend the store, look at CALL sfbatch.history, and run again."
        )
    }

  /** Without the NameNode's stack, which HDFS's client puts below. */
  private def said(e: Throwable): String = String.valueOf(e.getMessage).split("\n", 2).head.trim

  private def denied(what: String, e: Throwable) =
    new SfBatchException(
      "SFBATCH_NO_PERMISSION",
      s"$what: no permission (${said(e)}). Ask for write access to the table's location.",
      e
    )
}

/** The store was asked and has not answered: what was asked may still be done, even after one has looked. */
private[sfbatch] final class NoAnswer(message: String, cause: Throwable) extends IOException(message, cause)

/** What every Hadoop file system does alike. */
private[sfbatch] abstract class HadoopStore(fs: FileSystem) extends Store {

  def read(path: Path): Option[Array[Byte]] = Store.guarded(s"cannot read $path") {
    try {
      val in = fs.open(path)
      try Some(in.readAllBytes())
      finally in.close()
    } catch { case _: FileNotFoundException => None }
  }

  def list(directory: Path): Seq[FileStatus] = Store.guarded(s"cannot list $directory") {
    try fs.listStatus(directory).toSeq
    catch { case _: FileNotFoundException => Seq.empty }
  }

  def exists(path: Path): Boolean = Store.guarded(s"cannot look for $path")(fs.exists(path))

  def makeDirectory(path: Path): Unit = Store.guarded(s"cannot create $path") {
    if (!fs.mkdirs(path)) throw new IOException("mkdirs failed")
  }

  def qualified(path: Path): Path = path.makeQualified(fs.getUri, fs.getWorkingDirectory) // may be another system's
}

/** Local disk: a temporary file, fsync, and a hard link, which fails if the name exists.
  *
  * `CREATE_NEW` followed by a write would show torn files (design, section 2).
  */
private[sfbatch] final class LocalStore(fs: FileSystem) extends HadoopStore(fs) {

  private def local(path: Path) = Paths.get(path.toUri.getPath)

  def createExclusive(path: Path, bytes: Array[Byte]): Boolean = Store.guarded(s"cannot create $path") {
    val target = local(path)
    make(target.getParent)
    val temporary = target.resolveSibling(s"_${target.getFileName}.${java.util.UUID.randomUUID()}.tmp")
    try {
      val channel = FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)
      try {
        val buffer = java.nio.ByteBuffer.wrap(bytes)
        while (buffer.hasRemaining) channel.write(buffer)
        channel.force(true)
      } finally channel.close()
      Files.createLink(target, temporary)
      syncDirectory(target.getParent)
      true
    } catch {
      case _: FileAlreadyExistsException if Files.exists(target) => false
    } finally
      try Files.deleteIfExists(temporary)
      catch { case NonFatal(_) => () }
  }

  /** As `mkdirs` of Hadoop's local file system, which starts a process (chmod) for each directory it makes (3.3.4,
    * 3.4.1).
    */
  private def make(directory: java.nio.file.Path): Unit =
    if (!Files.isDirectory(directory)) {
      Option(directory.getParent).foreach(make)
      try {
        Files.createDirectory(directory)
        Files.setPosixFilePermissions(directory, permissions)
      } catch { case _: FileAlreadyExistsException if Files.isDirectory(directory) => () }
    }

  private lazy val permissions =
    PosixFilePermissions.fromString(FsPermission.getDirDefault.applyUMask(FsPermission.getUMask(fs.getConf)).toString)

  private def syncDirectory(directory: java.nio.file.Path): Unit = {
    val channel = FileChannel.open(directory, StandardOpenOption.READ)
    try channel.force(true)
    finally channel.close()
  }

  override def read(path: Path): Option[Array[Byte]] = Store.guarded(s"cannot read $path") {
    try Some(Files.readAllBytes(local(path)))
    catch { case _: java.nio.file.NoSuchFileException => None }
  }

  override def exists(path: Path): Boolean = Files.exists(local(path))

  override def makeDirectory(path: Path): Unit = Store.guarded(s"cannot create $path")(make(local(path)))
}
