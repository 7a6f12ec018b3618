package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{PartitionPath, SfBatchException}
import org.apache.spark.sql.Row
import org.apache.spark.sql.catalyst.TableIdentifier
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
    val found = wanted.map(spec =>
      spec -> session.sharedState.externalCatalog.listPartitionNames(name.database.get, name.table, Some(spec))
    )
    found.collectFirst { case (spec, Nil) if !ifExists => spec }.foreach { spec =>
      throw new SfBatchException(
        "SFBATCH_UNKNOWN_PARTITION",
        s"${Guards.name(metadata)} has no partition ${spec.map { case (k, v) => s"$k=$v" }.mkString("/")}. Use DROP IF EXISTS PARTITION to pass over it."
      )
    }
    val values = found
      .flatMap(_._2)
      .distinct
      .map(_.split("/", -1).toSeq.map(segment => PartitionPath.unescape(segment.split("=", 2)(1))))
    if (values.nonEmpty) {
      warehouse.dropPartitions(warehouse.table(name.database.get, name.table), values)
      CachedReads.refresh(session, name)
    }
    Nil
  }
}
