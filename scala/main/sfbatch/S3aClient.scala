package sfbatch

import java.io.{ByteArrayInputStream, IOException, InputStream}
import java.lang.ref.WeakReference
import java.lang.reflect.{InvocationTargetException, Method, Modifier, Proxy}
import java.util.concurrent.atomic.AtomicInteger
import java.util.{Collections, WeakHashMap}
import org.apache.commons.lang3.ClassUtils
import org.apache.commons.lang3.reflect.MethodUtils
import org.apache.hadoop.fs.FileSystem
import org.apache.hadoop.util.VersionInfo
import scala.collection.JavaConverters._
import scala.util.control.NonFatal

/** What S3A has no call for, sent by the client S3A holds and made by its request factory, so that encryption, ACL and
  * access point are the file system's own.
  *
  * By reflection: hadoop-aws is on the class path only where there is S3, and its Hadoop, not Spark, says which AWS SDK
  * comes with it.
  */
private[sfbatch] trait S3aClient {

  /** `PUT` with `If-None-Match: *`; a key that ends in `/` is a directory's marker. Throws what the SDK throws. */
  def putIfAbsent(key: String, bytes: Array[Byte], metadata: (String, String)): Unit

  /** One `GET`; S3A asks `HEAD` before it. Throws what the SDK throws. */
  def get(key: String): Array[Byte]

  /** Not where the client or each request brings a key, which copied parts would lose, nor where an upload is closed by
    * its parts' checksums.
    */
  def canCopyParts: Boolean

  /** Of the parts an object is sent in: `fs.s3a.multipart.size`, within what S3 takes. */
  def partBytes: Long

  /** The ID of a multipart upload, which nobody sees before it is closed. */
  def openUpload(key: String): String

  /** `UploadPartCopy` of the bytes from the first to the last, or of all; the part's ETag. Throws what the SDK throws.
    */
  def copyPart(source: String, target: String, upload: String, number: Int, bytes: Option[(Long, Long)]): String
  def closeUpload(key: String, upload: String, etags: Seq[String], bytes: Long): Unit
  def abortUpload(key: String, upload: String): Unit
}

private[sfbatch] object S3aClient {
  private val Header = "If-None-Match"
  private val Any = "*"

  /** @throws SfBatchException SFBATCH_STORE_UNSUPPORTED */
  def of(fs: FileSystem): S3aClient = clients.computeIfAbsent(fs, make) // S3A 3.3.4 warns of each that is asked for

  private val clients = Collections.synchronizedMap(new WeakHashMap[FileSystem, S3aClient])

  private def make(fs: FileSystem): S3aClient =
    if (has(fs, "getS3AInternals")) new OfSdk2(fs)
    else if (has(fs, "getAmazonS3ClientForTesting")) new OfSdk1(fs)
    else throw unknown(fs, "getS3AInternals")

  /** The HTTP status of what the SDK threw; None when no answer came. */
  def status(e: Throwable): Option[Int] =
    Seq("statusCode", "getStatusCode").find(has(e, _)).map(call(e, _).asInstanceOf[Int])

  /** What S3 calls the error; an answer without it is not S3's. */
  def errorCode(e: Throwable): Option[String] = {
    val details = if (has(e, "awsErrorDetails")) Option(call(e, "awsErrorDetails")) else Some(e)
    details.flatMap(d => Seq("errorCode", "getErrorCode").find(has(d, _)).map(call(d, _))).collect { case s: String =>
      s
    }
  }

  /** Whether the SDK had sent the request before, so that an earlier one may be carried out yet, whatever `e` says. */
  def sentBefore(e: Throwable): Boolean =
    e.getSuppressed.nonEmpty // one for each earlier try: so the SDK v2, and OfSdk1

  /** What is the same on both: S3A's own helper for the committers' uploads, with S3A's own retries. */
  private abstract class Uploads(fs: FileSystem) extends S3aClient {
    protected val client: AnyRef
    protected val factory: AnyRef = call(fs, "getRequestFactory")
    protected val bucket: String = String.valueOf(call(fs, "getBucket"))
    private val held = new WeakReference(fs) // the key in `clients`, which its value must not keep there
    protected def helper: AnyRef = call(held.get, "getWriteOperationHelper")
    val partBytes: Long = (fs.getConf.getLongBytes("fs.s3a.multipart.size", 64L << 20) max (5L << 20)) min (5L << 30)

    val canCopyParts: Boolean = {
      val algorithm = String.valueOf(call(factory, "getServerSideEncryptionAlgorithm")).toUpperCase
      !algorithm.startsWith("CSE") && !algorithm.startsWith("SSE_C") && !algorithm.startsWith("SSE-C") &&
      fs.getConf.getTrimmed("fs.s3a.create.checksum.algorithm", "").isEmpty
    }
    def abortUpload(key: String, upload: String): Unit = { call(helper, "abortMultipartCommit", key, upload); () }

    protected def sdk(name: String): Class[_] = Class.forName(name, true, client.getClass.getClassLoader)
  }

  /** Hadoop 3.4, AWS SDK v2. */
  private final class OfSdk2(fs: FileSystem) extends Uploads(fs) {
    protected val client = call(call(fs, "getS3AInternals"), "getAmazonS3Client", "sfbatch")

    def putIfAbsent(key: String, bytes: Array[Byte], metadata: (String, String)): Unit = {
      val isDirectory = Boolean.box(key.endsWith("/"))
      val request = call(factory, "newPutObjectRequestBuilder", key, null, Long.box(bytes.length.toLong), isDirectory)
      call(request, "metadata", Collections.singletonMap(metadata._1, metadata._2))
      // The factory has put its time-outs there.
      val settings = Option(call(request, "overrideConfiguration"))
        .map(call(_, "toBuilder"))
        .getOrElse(static("awscore.AwsRequestOverrideConfiguration", "builder"))
      call(settings, "putHeader", Header, Any)
      call(request, "overrideConfiguration", call(settings, "build"))
      call(client, "putObject", call(request, "build"), static("core.sync.RequestBody", "fromBytes", bytes))
      ()
    }

    def get(key: String): Array[Byte] = {
      val request = call(call(factory, "newGetObjectRequestBuilder", key), "build")
      val answer = call(client, "getObject", request, static("core.sync.ResponseTransformer", "toBytes"))
      call(answer, "asByteArray").asInstanceOf[Array[Byte]]
    }

    def openUpload(key: String): String = {
      val options = MethodUtils.invokeStaticMethod(
        Class.forName("org.apache.hadoop.fs.s3a.impl.PutObjectOptions", true, fs.getClass.getClassLoader),
        "keepingDirs"
      )
      String.valueOf(call(helper, "initiateMultiPartUpload", key, options))
    }

    def copyPart(source: String, target: String, upload: String, number: Int, bytes: Option[(Long, Long)]): String = {
      val request = static("services.s3.model.UploadPartCopyRequest", "builder")
      Seq("sourceBucket" -> bucket, "sourceKey" -> source, "destinationBucket" -> bucket, "destinationKey" -> target)
        .foreach { case (method, value) => call(request, method, value) }
      call(request, "uploadId", upload)
      call(request, "partNumber", Int.box(number))
      bytes.foreach { case (first, last) => call(request, "copySourceRange", s"bytes=$first-$last") }
      val answer = call(client, "uploadPartCopy", call(request, "build"))
      String.valueOf(call(call(answer, "copyPartResult"), "eTag"))
    }

    def closeUpload(key: String, upload: String, etags: Seq[String], bytes: Long): Unit = {
      val parts = etags.zipWithIndex.map { case (etag, i) =>
        val part = static("services.s3.model.CompletedPart", "builder")
        call(part, "partNumber", Int.box(i + 1))
        call(part, "eTag", etag)
        call(part, "build")
      }
      call(helper, "commitUpload", key, upload, parts.asJava, Long.box(bytes)); ()
    }

    private def static(name: String, method: String, arguments: AnyRef*): AnyRef =
      MethodUtils.invokeStaticMethod(sdk(s"software.amazon.awssdk.$name"), method, arguments: _*)
  }

  /** Hadoop 3.3.4, AWS SDK v1. */
  private final class OfSdk1(fs: FileSystem) extends Uploads(fs) {
    protected val client = call(fs, "getAmazonS3ClientForTesting", "sfbatch")

    def putIfAbsent(key: String, bytes: Array[Byte], metadata: (String, String)): Unit = {
      val described = call(factory, "newObjectMetadata", Long.box(bytes.length.toLong))
      call(described, "addUserMetadata", metadata._1, metadata._2)
      if (key.endsWith("/")) call(described, "setContentType", "application/x-directory")
      val request = call(factory, "newPutObjectRequest", key, described, new ByteArrayInputStream(bytes))
      call(request, "putCustomRequestHeader", Header, Any)
      val retries = new AtomicInteger
      call(request, "setGeneralProgressListener", counting(retries))
      try { call(client, "putObject", request); () }
      catch {
        case NonFatal(e) =>
          if (retries.get > 0) e.addSuppressed(new IOException(s"sent ${retries.get + 1} times"))
          throw e
      }
    }

    def openUpload(key: String): String = String.valueOf(call(helper, "initiateMultiPartUpload", key))

    def copyPart(source: String, target: String, upload: String, number: Int, bytes: Option[(Long, Long)]): String = {
      val request =
        sdk("com.amazonaws.services.s3.model.CopyPartRequest").getConstructor().newInstance().asInstanceOf[AnyRef]
      Seq(
        "setSourceBucketName" -> bucket,
        "setSourceKey" -> source,
        "setDestinationBucketName" -> bucket,
        "setDestinationKey" -> target,
        "setUploadId" -> upload,
        "setPartNumber" -> Int.box(number)
      ).foreach { case (method, value) => call(request, method, value) }
      bytes.foreach { case (first, last) =>
        call(request, "setFirstByte", Long.box(first))
        call(request, "setLastByte", Long.box(last))
      }
      String.valueOf(call(call(client, "copyPart", request), "getETag"))
    }

    def closeUpload(key: String, upload: String, etags: Seq[String], bytes: Long): Unit = {
      val part = sdk("com.amazonaws.services.s3.model.PartETag").getConstructor(classOf[Int], classOf[String])
      val parts = etags.zipWithIndex.map { case (etag, i) =>
        part.newInstance(Int.box(i + 1), etag).asInstanceOf[AnyRef]
      }
      call(helper, "commitUpload", key, upload, parts.asJava, Long.box(bytes), null); ()
    }

    /** A listener of the SDK's, which is told of a retry in the thread that makes it. */
    private def counting(retries: AtomicInteger): AnyRef =
      Proxy.newProxyInstance(
        client.getClass.getClassLoader,
        Array("ProgressListener", "DeliveryMode").map(name => sdk(s"com.amazonaws.event.$name")),
        (self: Any, method: Method, arguments: Array[AnyRef]) =>
          method.getName match {
            case "progressChanged" =>
              if (String.valueOf(call(arguments(0), "getEventType")) == "CLIENT_REQUEST_RETRY_EVENT")
                retries.incrementAndGet()
              null
            case "isSyncCallSafe" => Boolean.box(true)
            case "equals" => Boolean.box(self.asInstanceOf[AnyRef] eq arguments(0))
            case "hashCode" => Int.box(System.identityHashCode(self))
            case _ => "sfbatch's count of retries"
          }
      )

    def get(key: String): Array[Byte] = {
      val answer = call(client, "getObject", call(factory, "newGetObjectRequest", key))
      val content = call(answer, "getObjectContent").asInstanceOf[InputStream]
      try content.readAllBytes()
      finally content.close()
    }
  }

  private def has(target: AnyRef, method: String): Boolean = target.getClass.getMethods.exists(_.getName == method)

  /** By a public class or interface of the target's: its own class may be hidden (S3AInternals, the SDK's builders). */
  private def call(target: AnyRef, method: String, arguments: AnyRef*): AnyRef = {
    val own = target.getClass
    val methods =
      (own +: (ClassUtils.getAllSuperclasses(own).asScala ++ ClassUtils.getAllInterfaces(own).asScala).toSeq).iterator
        .flatMap(_.getMethods)
        .filter(m => m.getName == method && Modifier.isPublic(m.getDeclaringClass.getModifiers))
    val types = ClassUtils.toClass(arguments: _*)
    val found = methods.find(m => ClassUtils.isAssignable(types, m.getParameterTypes: _*))
    try found.getOrElse(throw unknown(target, method)).invoke(target, arguments: _*)
    catch { case e: InvocationTargetException => throw e.getCause }
  }

  private def unknown(target: AnyRef, method: String) = Store.unsupported(
    s"${target.getClass.getName} of Hadoop ${VersionInfo.getVersion} has no $method as it is known here, without which nothing is written safely on S3. Use Hadoop 3.3.4 or 3.4."
  )
}
