package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{PartitionPath, SfBatchException}
import org.apache.spark.sql.Row
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.catalog.CatalogTypes.TablePartitionSpec
import org.apache.spark.sql.sfbatch.Shims.Session

/** ALTER TABLE ... DROP PARTITION as one version, which can be rolled back; files stay. */
final case class DropPartitionsCommand(name: TableIdentifier, specs: Seq[TablePartitionSpec], ifExists: Boolean)
    extends SessionCommand {
  override protected def act(session: Session): Seq[Row] = {
    val warehouse = Warehouses.of(session)
    val metadata = session.sessionState.catalog.getTableMetadata(name)
    val table = warehouse.table(name.database.get, name.table)
    val inJournal = warehouse.partitions(table)
    val wanted = specs.map(PartitionArgument.typed(metadata, _))
    val found = wanted.map(spec => spec -> partitions(session, metadata, spec, inJournal))
    if (!ifExists) found.collectFirst { case (spec, none) if none.isEmpty => throw unknown(metadata, spec) }
    val values = found.flatMap(_._2).distinct
    if (values.nonEmpty) {
      val version = warehouse.dropPartitions(table, values)
      CachedReads.refresh(session, name)
      if (version.isEmpty && !ifExists) throw unknown(metadata, wanted.head)
    }
    Nil
  }

  private def unknown(table: CatalogTable, spec: TablePartitionSpec) = new SfBatchException(
    "SFBATCH_UNKNOWN_PARTITION",
    s"${Guards.name(table)} has no partition ${spec.map { case (k, v) => s"$k=$v" }.mkString("/")}. Use DROP IF EXISTS PARTITION to pass over it."
  )

  /** What the journal alone knows, a late call may have hidden: it would come back. The metastore's own matching takes
    * a dot for any character (Hive 2.3.9), so what it lists is looked at again.
    */
  private def partitions(
      session: Session,
      table: CatalogTable,
      spec: TablePartitionSpec,
      inJournal: Set[Seq[String]]
  ): Set[Seq[String]] = {
    val listed =
      session.sharedState.externalCatalog
        .listPartitionNames(name.database.get, name.table, Some(spec))
        .map(PartitionPath.values)
    (inJournal ++ listed).filter { values =>
      table.partitionColumnNames.zip(values).forall { case (c, v) => spec.get(c).forall(_ == v) }
    }
  }
}
