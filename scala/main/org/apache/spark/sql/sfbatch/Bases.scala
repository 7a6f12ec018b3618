package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{BatchId, Column, Format, SfBatchException, Shown, Storage, Table, Write, Written}
import _root_.sfbatch.{PartitionPath => Place}
import org.apache.hadoop.fs.Path
import org.apache.spark.sql.catalyst.catalog.{CatalogTable, CatalogTablePartition, HiveTableRelation}
import org.apache.spark.sql.catalyst.types.DataTypeUtils.toAttributes
import org.apache.spark.sql.execution.SparkPlan
import org.apache.spark.sql.execution.datasources.{
  HadoopFsRelation,
  InMemoryFileIndex,
  LogicalRelation,
  NoopCache,
  PartitionPath,
  PartitionSpec
}
import org.apache.spark.sql.execution.metric.SQLMetric
import org.apache.spark.sql.hive.HiveUtils
import org.apache.spark.sql.sfbatch.Shims.Session

/** What the partitions of an append showed before it, carried into the new batch; must lose no row.
  *
  * Files of the table's storage and columns (or fewer, as before ADD COLUMNS) are copied as they are; others are read
  * as stock Spark reads them and written anew.
  */
final class Bases(
    session: Session,
    write: Write,
    catalogTable: CatalogTable,
    writer: BatchWriter,
    maxCopyBytes: Long,
    metrics: Map[String, SQLMetric]
) {
  private val table = write.table

  /** Where the one partition is known, a base too large is refused before the first byte. */
  def checkKnown(values: Seq[String]): Unit = refuseLarge(write.current.get(values).flatMap(_.bytes).getOrElse(0L))

  /** Bases and own new files of these partitions as `batchId`; own files already lie in the write's first batch. */
  def carry(
      bases: Map[Seq[String], Option[Shown]],
      own: Map[Seq[String], Seq[WrittenFile]],
      batchId: BatchId
  ): Map[Seq[String], Written] = {
    val files = new BatchFiles(session, table, writer.configuration(batchId))
    val present = bases.collect { case (values, Some(base)) => values -> base }
    val listed = present.map { case (values, base) => values -> files.list(values, location(values, base)) }
    present.foreach { case (values, base) => refuseMissing(values, base, listed(values)) }
    refuseLarge(listed.values.flatten.map(_.bytes).sum)
    metrics(BatchMetrics.BytesCopied).add(listed.values.flatten.map(_.bytes).sum)

    val (sameFiles, others) = present.keys.toSeq.partition(values => Bases.isCopyable(table, present(values)))
    val ownAgain =
      if (batchId == write.batchId) Nil
      else bases.keys.toSeq.flatMap(v => files.ofBatch(write.batchId, own.getOrElse(v, Nil)))
    files.copy(sameFiles.flatMap(listed) ++ ownAgain, batchId)
    val (convertible, foreign) = others.partition(values => Bases.isReadByName(table, present(values)))
    val rewritten = (rewrite(convertible, present, byName = true, batchId) ++
      rewrite(foreign, present, byName = false, batchId)).groupBy(_.values)

    bases.map { case (values, base) =>
      val copied = if (sameFiles.contains(values)) listed(values) else Nil
      val written = own.getOrElse(values, Nil) ++ rewritten.getOrElse(values, Nil)
      values -> Bases
        .count(values, batchId, written, base.filter(_ => sameFiles.contains(values)), copied)
        .copy(base = base)
    }
  }

  private def location(values: Seq[String], shown: Shown): Path =
    shown.location.map(new Path(_)).orElse(shown.batchId.map(Place.batch(table, values, _))).get

  private def refuseLarge(bytes: Long): Unit =
    if (bytes > maxCopyBytes)
      throw new SfBatchException(
        "SFBATCH_APPEND_TOO_LARGE",
        s"$table: this append would copy $bytes bytes of the partitions it adds to, the limit is $maxCopyBytes. " +
          s"Partition finer, overwrite whole partitions instead, or raise spark.sfbatch.${WriteParameters.MaxCopyBytes}."
      )

  /** A batch that lost files would lose rows silently here. One that others added to is carried along as it is. */
  private def refuseMissing(values: Seq[String], base: Shown, found: Seq[BatchFiles.Existing]): Unit =
    if (base.batchId.isDefined && (base.files.exists(_ > found.size) || base.bytes.exists(_ > found.map(_.bytes).sum)))
      throw new SfBatchException(
        "SFBATCH_BATCH_GONE",
        s"$table: ${location(values, base)} holds ${found.size} files, ${found.map(_.bytes).sum} bytes; ${base.files.getOrElse(0)} files, " +
          s"${base.bytes.getOrElse(0)} bytes were published. Restore them, CALL sfbatch.rollback, or overwrite the partition."
      )

  private def rewrite(
      values: Seq[Seq[String]],
      present: Map[Seq[String], Shown],
      byName: Boolean,
      batchId: BatchId
  ): Seq[WrittenFile] =
    if (values.isEmpty) Nil
    else {
      val bases = values.map(v => v -> location(v, present(v))).toMap
      val plan = read(bases, byName)
      val partitionColumns = plan.output.takeRight(table.partitionColumns.size)
      val files = writer.write(plan, batchId, plan.output, partitionColumns, static = 0)
      files.map(_.values).find(!bases.contains(_)).foreach { values =>
        throw new IllegalStateException(
          s"$table: rows of ${PartitionValues.show(table.partitionColumns, values)} came out of another partition"
        )
      }
      files
    }

  private def read(bases: Map[Seq[String], Path], byName: Boolean): SparkPlan = {
    val catalog = session.sessionState.catalog
    val now = catalog.getTableMetadata(catalogTable.identifier)
    val names = now.partitionColumnNames // as Spark spells them, perhaps with capitals
    val partitions =
      if (table.isPartitioned) Some(bases.keys.toSeq.map(v => catalog.getPartition(now.identifier, names.zip(v).toMap)))
      else None
    partitions.fold(checkLocation(Nil, now.location.toString, bases))(
      _.foreach(p => checkLocation(names.map(p.spec), p.location.toString, bases))
    )
    if (byName) session.sessionState.executePlan(LogicalRelation(files(now, partitions), now)).executedPlan
    else bySerDe(now, partitions)
  }

  /** The partitions as Spark's own readers see them, by name: what `spark.sql.hive.convertMetastoreParquet` and
    * `...Orc` make of them (HiveMetastoreCatalog and CatalogFileIndex, 3.5.6).
    */
  private def files(now: CatalogTable, partitions: Option[Seq[CatalogTablePartition]]): HadoopFsRelation = {
    val zone = session.sessionState.conf.sessionLocalTimeZone
    val conf = session.sessionState.newHadoopConf()
    def qualified(path: Path) = path.getFileSystem(conf).makeQualified(path)
    val paths =
      partitions.map(_.map(p => PartitionPath(p.toRow(now.partitionSchema, zone), qualified(new Path(p.location)))))
    val index = new InMemoryFileIndex(
      session,
      paths.fold(Seq(qualified(new Path(now.location))))(_.map(_.path)),
      Map.empty,
      Some(now.partitionSchema),
      NoopCache,
      Some(PartitionSpec(now.partitionSchema, paths.getOrElse(Nil)))
    )
    val format = WriteFormat.of(now, Map.empty)
    HadoopFsRelation(index, now.partitionSchema, now.dataSchema, None, format.files, format.options)(session)
  }

  /** The partitions by their own SerDe, as Hive reads them: conversion to Spark's readers would take the table's format
    * for theirs.
    */
  private def bySerDe(now: CatalogTable, partitions: Option[Seq[CatalogTablePartition]]): SparkPlan = {
    val own = session.cloneSession()
    own.conf.set(HiveUtils.CONVERT_METASTORE_PARQUET.key, "false")
    own.conf.set(HiveUtils.CONVERT_METASTORE_ORC.key, "false")
    val relation = HiveTableRelation(
      now,
      toAttributes(now.dataSchema),
      toAttributes(now.partitionSchema),
      prunedPartitions = partitions
    )
    own.sessionState.executePlan(relation).executedPlan
  }

  private def checkLocation(values: Seq[String], shown: String, bases: Map[Seq[String], Path]): Unit =
    if (bases.get(values).forall(base => new Path(shown).toUri.getPath != base.toUri.getPath))
      throw new SfBatchException(
        "SFBATCH_CONFLICT",
        s"$table: ${PartitionValues.show(table.partitionColumns, values)} shows $shown, the journal says ${bases.get(values).orNull}. " +
          s"Nothing was published. Run CALL sfbatch.recover('$table'), then this write again."
      )
}

object Bases {

  /** Same storage, and the columns it has are the table's first ones. */
  def isCopyable(table: Table, base: Shown): Boolean = {
    def typed(columns: Seq[Column]) = columns.map(c => (c.name, c.dataType))
    base.storage == table.storage && typed(table.columns).startsWith(typed(base.schema))
  }

  /** Parquet and ORC of the table's own kind, which readers take by the columns' names; Hive's SerDe would go by place.
    */
  def isReadByName(table: Table, base: Shown): Boolean = {
    def kind(storage: Storage) = (storage.inputFormat, storage.serde)
    kind(base.storage) == kind(table.storage) && table.format != Format.Text.name
  }

  def count(
      values: Seq[String],
      batchId: BatchId,
      own: Seq[WrittenFile],
      base: Option[Shown],
      copied: Seq[BatchFiles.Existing]
  ): Written = {
    val rows = own.flatMap(_.rows).sum
    Written(
      values = values,
      batchId = batchId,
      files = own.size.toLong + copied.size,
      bytes = own.map(_.bytes).sum + copied.map(_.bytes).sum,
      rows = base.fold(Option(rows))(_.rows.map(_ + rows))
    )
  }
}
