package org.apache.spark.sql.sfbatch

import _root_.sfbatch.TableSpec
import org.apache.spark.sql.{Row, SaveMode}
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.analysis.{TableAlreadyExistsException, UnresolvedRelation}
import org.apache.spark.sql.catalyst.plans.QueryPlan
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, Project}
import org.apache.spark.sql.sfbatch.Shims.Session
import scala.util.control.NonFatal

/** Creates one table, and fills it when there is a query; a failed fill must leave the name free to be created again.
  */
final case class CreateTableCommand(
    spec: TableSpec,
    mode: SaveMode,
    query: Option[LogicalPlan],
    options: Map[String, String]
) extends SessionCommand {
  override def innerChildren: Seq[QueryPlan[_]] = query.toSeq

  override protected def act(session: Session): Seq[Row] = {
    val catalog = session.sessionState.catalog
    val name = TableIdentifier(spec.name, Some(spec.database))
    if (!catalog.tableExists(name)) {
      val warehouse = Warehouses.of(session)
      val table = warehouse.create(spec)
      query.foreach { rows =>
        try fill(session, name, rows)
        catch {
          case NonFatal(failure) =>
            // EXTERNAL: no file goes. The journal holds no row yet, so the same CREATE takes it up again (PROTOCOL.md, owner.json).
            // Where another writer has filled it meanwhile, it stays.
            try
              if (warehouse.history(table, None, 2).forall(_.operation == "create"))
                catalog.dropTable(name, ignoreIfNotExists = true, purge = false)
            catch { case NonFatal(second) => failure.addSuppressed(second) }
            throw failure
        }
      }
      catalog.refreshTable(name)
    } else if (mode != SaveMode.Ignore) throw new TableAlreadyExistsException(spec.database, spec.name)
    Nil
  }

  private def fill(session: Session, name: TableIdentifier, rows: LogicalPlan): Unit = {
    val partitionNames = spec.partitionColumns.map(_.name)
    def isPartition(column: String) = partitionNames.exists(_.equalsIgnoreCase(column))
    val last = partitionNames.map(p => rows.output.find(_.name.equalsIgnoreCase(p)).get)
    val ordered = Project(rows.output.filterNot(c => isPartition(c.name)) ++ last, rows)
    val insert = Inserts.byPosition(UnresolvedRelation(name), ordered, overwrite = false, WriteParameters.only(options))
    session.sessionState.executePlan(insert).assertCommandExecuted()
  }
}
