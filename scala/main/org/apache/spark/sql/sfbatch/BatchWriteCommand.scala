package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{Outcome, PartitionPath, SfBatchException, Shown, Table, Write, Written}
import org.apache.spark.internal.Logging
import org.apache.spark.sql.Row
import org.apache.spark.sql.catalyst.catalog.{BucketSpec, CatalogTable}
import org.apache.spark.sql.catalyst.catalog.CatalogTypes.TablePartitionSpec
import org.apache.spark.sql.catalyst.expressions.{Attribute, SortOrder}
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.execution.SparkPlan
import org.apache.spark.sql.execution.datasources.{FileFormat, V1WriteCommand, V1WritesUtils}
import org.apache.spark.sql.execution.metric.SQLMetric
import org.apache.spark.sql.sfbatch.Shims.Session

/** One write, from top to bottom: check, claim, write the files, publish. Must not change what readers see before
  * `publish`.
  */
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

  // What Spark's planner asks of a write: it sorts by the partition columns and shows the metrics.
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
    MagicCommitter.check(table.root, warehouse.conf)
    val declared = declaredPartitions(session, table)
    warehouse.begin(table, parameters.options(append)) match {
      case Left(done) => BatchMetrics.report(session, metrics, table, Nil, done)
      case Right(write) =>
        val writer = new BatchWriter(session, table, catalogTable, format, parameters.maxRecordsPerFile, metrics)
        val bases = new Bases(session, write, catalogTable, writer, parameters.maxCopyBytes, metrics)
        declared match {
          case DeclaredPartitions.One(values) if append => bases.checkKnown(values)
          case _ => ()
        }
        val files = writer.write(child, write.batchId, outputColumns, partitionColumns, staticPartitions.size)
        // An append of no rows to an unpartitioned table changes nothing, though its writer makes a file.
        val own = (if (append && files.forall(_.rows.contains(0L))) Nil else files).groupBy(_.values)
        declared.check(own.keySet)
        val (outcome, written) = if (append) appended(write, bases, own) else replaced(session, write, declared, own)
        CachedReads.refresh(session, catalogTable.identifier)
        BatchMetrics.report(session, metrics, table, written, outcome)
    }
    Nil
  }

  private def declaredPartitions(session: Session, table: Table): DeclaredPartitions = parameters.replaceWhere match {
    case Some(_) if append => throw DeclaredPartitions.notInAppend
    case Some(_) if staticPartitions.nonEmpty =>
      throw new SfBatchException(
        "SFBATCH_BAD_OPTION",
        "replaceWhere and PARTITION (...) both declare partitions: use one of them."
      )
    case Some(predicate) => DeclaredPartitions.Where(session, table, predicate)
    case None if staticPartitions.size == table.partitionColumns.size =>
      DeclaredPartitions.One(table.partitionColumns.map(c => staticPartitions(c.name)))
    case None => DeclaredPartitions.InData
  }

  private def replaced(
      session: Session,
      write: Write,
      declared: DeclaredPartitions,
      own: Map[Seq[String], Seq[WrittenFile]]
  ): (Outcome, Seq[Written]) = {
    def ofOthers = session.sharedState.externalCatalog
      .listPartitionNames(catalogTable.database, catalogTable.identifier.table)
      .map(PartitionPath.values)
    val present = declared match {
      case _: DeclaredPartitions.Where => write.current.keySet ++ ofOthers
      case _ => write.current.keySet
    }
    val empty = declared.withoutRows(present, own.keySet).map(Written(_, write.batchId, 0, 0, Some(0)))
    val written = empty ++ own.map { case (values, files) => Bases.count(values, write.batchId, files, None, Nil) }
    (write.publish(written), written)
  }

  /** The rows that were there come along: the base of each partition, and where it moved meanwhile, its new base in
    * another batch. The second time that is made under the lock, or appends beside busy writers would never end.
    */
  private def appended(write: Write, bases: Bases, own: Map[Seq[String], Seq[WrittenFile]]): (Outcome, Seq[Written]) = {
    val known: Map[Seq[String], Option[Shown]] = own.map { case (values, _) => values -> write.current.get(values) }
    var written = bases.carry(known, own, write.batchId)
    def carry(now: Map[Seq[String], Option[Shown]]): Seq[Written] = {
      logInfo(
        s"${write.table}: ${now.size} partitions changed while this append was written; appending to what they are now"
      )
      val carried = bases.carry(now, own, write.claimAnother())
      written ++= carried
      carried.values.toSeq
    }
    val outcome = write.publish(written.values.toSeq) match {
      case Outcome.BaseMoved(now) =>
        carry(now)
        write.publish(written.values.toSeq, carry _)
      case outcome => outcome
    }
    (outcome, written.values.toSeq)
  }

  override protected def withNewChildInternal(newChild: LogicalPlan): BatchWriteCommand = copy(query = newChild)
}
