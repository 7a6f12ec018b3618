package sfbatch

import java.time.{Instant, LocalDateTime, ZoneOffset}
import java.time.format.{DateTimeFormatter, ResolverStyle}
import scala.util.Try

/** The name of one batch: a UTC second, `yyyyMMddHHmmss`; a name and never a clock (versions give the order).
  *
  * {{{BatchId.parse("20161002002334").value == "20161002002334"}}}
  */
final case class BatchId private (value: String) {
  override def toString: String = value
  def plusSeconds(seconds: Long): BatchId =
    BatchId.at(LocalDateTime.parse(value, BatchId.format).toInstant(ZoneOffset.UTC).plusSeconds(seconds))
}

object BatchId {
  private val format = DateTimeFormatter.ofPattern("uuuuMMddHHmmss").withResolverStyle(ResolverStyle.STRICT)

  def at(instant: Instant): BatchId = BatchId(format.format(instant.atOffset(ZoneOffset.UTC)))

  def isBatchId(text: String): Boolean =
    text.length == 14 && text.forall(c => c >= '0' && c <= '9') && Try(LocalDateTime.parse(text, format)).isSuccess

  /** @throws SfBatchException SFBATCH_BAD_BATCH_ID */
  def parse(text: String): BatchId =
    if (isBatchId(text)) BatchId(text)
    else
      throw new SfBatchException(
        "SFBATCH_BAD_BATCH_ID",
        s"'$text' is not a batch ID: expected yyyyMMddHHmmss, e.g. 20161002002334."
      )
}
