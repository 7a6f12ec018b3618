package sfbatch

/** What one partition shows: a batch of ours, or a location others chose. */
final case class Shown(
    batchId: Option[BatchId],
    location: Option[String],
    version: Long,
    schema: Seq[Column],
    storage: Storage,
    rows: Option[Long],
    bytes: Option[Long],
    files: Option[Long]
)
