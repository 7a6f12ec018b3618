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
    val catalog = session.sessionState.catalog
    val metadata = catalog.getTableMetadata(name)
    val wanted = specs.map(PartitionArgument.typed(metadata, _))
    val found = wanted.map(spec => spec -> partitions(session, metadata, spec))
    found.collectFirst { case (spec, Nil) if !ifExists => spec }.foreach { spec =>
      throw new SfBatchException(
        "SFBATCH_UNKNOWN_PARTITION",
        s"${Guards.name(metadata)} has no partition ${spec.map { case (k, v) => s"$k=$v" }.mkString("/")}. Use DROP IF EXISTS PARTITION to pass over it."
      )
    }
    val values = found.flatMap(_._2).distinct
    if (values.nonEmpty) {
      warehouse.dropPartitions(warehouse.table(name.database.get, name.table), values)
      CachedReads.refresh(session, name)
    }
    Nil
  }

  /** The metastore's own matching takes a dot for any character (Hive 2.3.9), so what it lists is looked at again. */
  private def partitions(session: Session, table: CatalogTable, spec: TablePartitionSpec): Seq[Seq[String]] =
    session.sharedState.externalCatalog
      .listPartitionNames(name.database.get, name.table, Some(spec))
      .map(PartitionPath.values)
      .filter(values => table.partitionColumnNames.zip(values).forall { case (c, v) => spec.get(c).forall(_ == v) })
}
