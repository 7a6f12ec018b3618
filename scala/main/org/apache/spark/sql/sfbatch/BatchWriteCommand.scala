package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, Outcome, PartitionPath, SfBatchException, Shown, Table, Write, Written}
import java.util.UUID
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.spark.internal.Logging
import org.apache.spark.sql.Row
import org.apache.spark.sql.catalyst.catalog.{BucketSpec, CatalogTable}
import org.apache.spark.sql.catalyst.catalog.CatalogTypes.TablePartitionSpec
import org.apache.spark.sql.catalyst.expressions.{Attribute, SortOrder}
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.execution.{SparkPlan, SQLExecution}
import org.apache.spark.sql.execution.datasources.{FileFormat, FileFormatWriter, V1WriteCommand, V1WritesUtils}
import org.apache.spark.sql.execution.metric.{SQLMetric, SQLMetrics}
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.util.SerializableConfiguration

/** One write, from top to bottom: check, claim, write the files, publish. Must not change what readers see before `publish`. */
final case class BatchWriteCommand(
    catalogTable: CatalogTable,
    query: LogicalPlan,
    outputColumnNames: Seq[String],
    partitionColumns: Seq[Attribute],
    staticPartitions: TablePartitionSpec,
    append: Boolean,
    parameters: WriteParameters,
    format: WriteFormat
) extends V1WriteCommand
    with Logging {

  override def fileFormat: FileFormat = format.files
  override def options: Map[String, String] = format.options
  override def bucketSpec: Option[BucketSpec] = None
  override def requiredOrdering: Seq[SortOrder] =
    V1WritesUtils.getSortOrder(outputColumns, partitionColumns, bucketSpec, options, staticPartitions.size)

  override lazy val metrics: Map[String, SQLMetric] = BatchMetrics.create

  override def run(session: Session, child: SparkPlan): Seq[Row] = SparkFailure.unwrapped {
    val warehouse = Warehouses.of(session)
    val table = warehouse.table(catalogTable.database, catalogTable.identifier.table)
    WriteChecks.unchanged(table, catalogTable)
    val declared = declaredPartitions(session, table)
    warehouse.begin(table, parameters.options(append)) match {
      case Left(Outcome.AlreadyPublished(txn)) =>
        logWarning(s"$table: nothing written, version ${txn.version} of txn '${txn.appId}' is published already")
      case Right(write) =>
        val job = new Batch(session, write)
        job.checkKnownCopies(declared)
        val files = job.writeFiles(child)
        declared.check(files.map(_.values).toSet)
        job.publish(files, declared.withoutRows(write.current.keys, files.map(_.values).toSet))
        CachedReads.refresh(session, catalogTable.identifier)
    }
    Nil
  }

  private def declaredPartitions(session: Session, table: Table): DeclaredPartitions = parameters.replaceWhere match {
    case Some(_) if append =>
      throw new SfBatchException("SFBATCH_BAD_OPTION", "replaceWhere needs mode overwrite: an append replaces nothing.")
    case Some(_) if staticPartitions.nonEmpty =>
      throw new SfBatchException("SFBATCH_BAD_OPTION", "replaceWhere and PARTITION (...) both declare partitions: use one of them.")
    case Some(predicate) => DeclaredPartitions.Where(session, table, predicate)
    case None if staticPartitions.size == table.partitionColumns.size =>
      DeclaredPartitions.One(table.partitionColumns.map(c => staticPartitions(c.name)))
    case None => DeclaredPartitions.InData
  }

  /** The files of one claimed batch. */
  private final class Batch(session: Session, write: Write) {
    private val table = write.table
    private val conf: Configuration = session.sessionState.newHadoopConfWithOptions(options)
    private val existing = new BatchFiles(session, table, conf)

    def writeFiles(child: SparkPlan): Seq[WrittenFile] = {
      var files: Seq[WrittenFile] = Nil
      BatchCommitProtocol.configure(conf, write.batchId)
      FileFormatWriter.write(
        sparkSession = session,
        plan = child,
        fileFormat = WriteFormat.configure(session, format, catalogTable, conf),
        committer = BatchCommitProtocol(table, write.batchId, UUID.randomUUID.toString),
        outputSpec = FileFormatWriter.OutputSpec(table.root.toString, Map.empty, outputColumns),
        hadoopConf = conf,
        partitionColumns = partitionColumns,
        bucketSpec = bucketSpec,
        statsTrackers = Seq(
          new WrittenFiles(
            new SerializableConfiguration(conf), table.style, table.partitionColumns.size, metrics(BatchMetrics.TaskCommitTime),
            (written, jobCommitTime) => {
              files = written
              metrics(BatchMetrics.JobCommitTime).add(jobCommitTime)
            }
          )
        ),
        options = options ++ parameters.maxRecordsPerFile.map("maxRecordsPerFile" -> _.toString),
        numStaticPartitionCols = staticPartitions.size
      )
      // An append of no rows to an unpartitioned table changes nothing, though its writer makes a file.
      if (append && files.forall(_.rows.contains(0L))) Nil else files
    }

    /** An append copies its base forward; a base that moved meanwhile is copied anew, with the new files, into another batch. */
    def publish(files: Seq[WrittenFile], empty: Seq[Seq[String]]): Unit = {
      val own = files.groupBy(_.values)
      empty.foreach { values =>
        val directory = PartitionPath.batch(table, values, write.batchId)
        directory.getFileSystem(conf).mkdirs(directory)
      }
      val bases = if (append) own.keys.map(values => values -> write.current.get(values)).toMap else Map.empty[Seq[String], Option[Shown]]
      var written = (own.keys ++ empty).map(v => v -> count(v, write.batchId, own.getOrElse(v, Nil), None, Nil)).toMap
      written ++= onBases(own, bases, write.batchId, copyOwn = false)
      var outcome = write.publish(written.values.toSeq)
      while (outcome match {
          case Outcome.BaseMoved(now) =>
            logInfo(s"$table: ${now.size} partitions changed while this append was written; appending to what they are now")
            written ++= onBases(own, now, write.claimAnother(), copyOwn = true)
            outcome = write.publish(written.values.toSeq)
            true
          case _ => false
        }) ()
      report(outcome, written.values.toSeq)
    }

    private def onBases(own: Map[Seq[String], Seq[WrittenFile]], bases: Map[Seq[String], Option[Shown]], batchId: BatchId, copyOwn: Boolean): Map[Seq[String], Written] = {
      val ofBases = bases.collect { case (values, Some(base)) => values -> existing.list(values, location(values, base)) }
      val again = if (copyOwn) bases.keys.flatMap(v => existing.ofBatch(write.batchId, own.getOrElse(v, Nil))).toSeq else Nil
      refuseLargeCopy(ofBases.values.flatten.map(_.bytes).sum)
      existing.copy(ofBases.values.flatten.toSeq ++ again, batchId)
      metrics(BatchMetrics.BytesCopied).add(ofBases.values.flatten.map(_.bytes).sum)
      bases.map { case (values, base) => values -> count(values, batchId, own.getOrElse(values, Nil), base, ofBases.getOrElse(values, Nil)) }
    }

    private def count(values: Seq[String], batchId: BatchId, own: Seq[WrittenFile], base: Option[Shown], copied: Seq[BatchFiles.Existing]): Written = {
      val rows = own.flatMap(_.rows).sum
      Written(
        values = values,
        batchId = batchId,
        files = own.size.toLong + copied.size,
        bytes = own.map(_.bytes).sum + copied.map(_.bytes).sum,
        rows = base.fold(Option(rows))(_.rows.map(_ + rows)),
        base = base
      )
    }

    private def location(values: Seq[String], shown: Shown): Path =
      shown.batchId.map(PartitionPath.batch(table, values, _)).getOrElse(new Path(shown.location.get))

    /** Where the one partition of an append is known, a base too large is refused before the first byte. */
    def checkKnownCopies(declared: DeclaredPartitions): Unit = declared match {
      case DeclaredPartitions.One(values) if append => refuseLargeCopy(write.current.get(values).flatMap(_.bytes).getOrElse(0L))
      case _ => ()
    }

    private def refuseLargeCopy(bytes: Long): Unit =
      if (bytes > parameters.maxCopyBytes)
        throw new SfBatchException(
          "SFBATCH_APPEND_TOO_LARGE",
          s"$table: this append would copy $bytes bytes of the partitions it adds to, the limit is ${parameters.maxCopyBytes}. " +
            s"Partition finer, overwrite whole partitions instead, or raise spark.sfbatch.${WriteParameters.MaxCopyBytes}."
        )

    private def report(outcome: Outcome, written: Seq[Written]): Unit = {
      val changed = outcome match {
        case Outcome.Published(version, partitions) =>
          logInfo(s"$table: ${version.fold("no new version")(v => s"version $v")}, batch ${write.batchId}: $partitions partitions changed")
          partitions
        case _ =>
          logWarning(s"$table: nothing published, this txn is published already")
          0
      }
      BatchMetrics.report(session, metrics, written, changed)
    }
  }

  override protected def withNewChildInternal(newChild: LogicalPlan): BatchWriteCommand = copy(query = newChild)
}
