package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, SfBatchException, Txn, WriteOptions}
import java.util.Locale
import org.apache.spark.network.util.JavaUtils
import org.apache.spark.sql.sfbatch.Shims.Session
import scala.util.Try

/** The options of one write; an option nobody knows must be refused, never ignored.
  *
  * Precedence: the writer's option, then `spark.sfbatch.<option>` of the session (the way of SQL), then the default.
  */
final case class WriteParameters(
    replaceWhere: Option[String] = None,
    userMetadata: Option[String] = None,
    txn: Option[Txn] = None,
    expectedBatchId: Option[BatchId] = None,
    maxRecordsPerFile: Option[Long] = None,
    maxCopyBytes: Long = WriteParameters.DefaultMaxCopyBytes,
    format: Map[String, String] = Map.empty
) {
  def options(append: Boolean): WriteOptions = WriteOptions(append, expectedBatchId, txn, userMetadata)
}

object WriteParameters {
  val DefaultMaxCopyBytes: Long = 10L << 30
  val Names: Seq[String] =
    Seq("replaceWhere", "userMetadata", "txnAppId", "txnVersion", "expectedBatchId", "maxRecordsPerFile")
  val MaxCopyBytes = "append.maxCopyBytes"
  private val Setting = "spark.sfbatch."
  private val settings = (Names :+ MaxCopyBytes :+ "job-id").map(Setting + _).toSet

  /** Options of the data source itself, not of the write. */
  private val addressing = Set("path", "table", "__partition_columns")
  private val formatOptions = Set("compression")
  private val formatPrefixes = Seq("parquet.", "orc.")

  /** @throws SfBatchException SFBATCH_BAD_OPTION */
  def of(session: Session, provided: Map[String, String]): WriteParameters = {
    val options = provided.map { case (key, value) => key.toLowerCase(Locale.ROOT) -> value }
    val known = Names.map(_.toLowerCase(Locale.ROOT)).toSet + MaxCopyBytes.toLowerCase(Locale.ROOT)
    val (format, others) = options.partition { case (key, _) =>
      formatOptions(key) || formatPrefixes.exists(key.startsWith)
    }
    others.keys.find(key => !known(key) && !addressing(key)).foreach { key =>
      val spelled = provided.keys.find(_.equalsIgnoreCase(key)).getOrElse(key)
      bad(
        s"'$spelled' is not an option of a write. Options: ${(Names :+ MaxCopyBytes).mkString(", ")}; of Parquet and ORC: compression, parquet.*, orc.*."
      )
    }
    session.conf.getAll.keys.find(key => key.toLowerCase(Locale.ROOT).startsWith(Setting) && !settings(key)).foreach {
      key =>
        bad(
          s"session setting '$key' is none of ${settings.toSeq.sorted.mkString(", ")}, and would be ignored: RESET it; capitals count."
        )
    }
    def value(name: String): Option[String] =
      others
        .get(name.toLowerCase(Locale.ROOT))
        .orElse(session.conf.getOption(Setting + name))
        .filter(_.nonEmpty)
    def number(name: String): Option[Long] =
      value(name).map(text => Try(text.trim.toLong).getOrElse(bad(s"$name = '$text': expected a whole number.")))

    WriteParameters(
      replaceWhere = value("replaceWhere"),
      userMetadata = value("userMetadata"),
      txn = (value("txnAppId"), number("txnVersion")) match {
        case (Some(app), Some(version)) => Some(Txn(app, version))
        case (None, None) => None
        case (app, _) =>
          bad(
            s"${if (app.isDefined) "txnAppId without txnVersion" else "txnVersion without txnAppId"}: give both, or neither."
          )
      },
      expectedBatchId = value("expectedBatchId").map(BatchId.parse),
      maxRecordsPerFile = number("maxRecordsPerFile"),
      maxCopyBytes = value(MaxCopyBytes)
        .map(text =>
          Try(JavaUtils.byteStringAsBytes(text))
            .getOrElse(bad(s"$MaxCopyBytes = '$text': expected bytes, or a size such as 20g."))
        )
        .getOrElse(DefaultMaxCopyBytes),
      format = format
    )
  }

  /** Those of the options of a CREATE TABLE AS SELECT that are for its write. */
  def only(options: Map[String, String]): Map[String, String] =
    options.filter { case (key, _) => (Names :+ MaxCopyBytes).exists(_.equalsIgnoreCase(key)) }

  private def bad(detail: String): Nothing = throw new SfBatchException("SFBATCH_BAD_OPTION", detail)
}
