package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{SfBatchException, Table, TableSpec, Warehouse}
import org.apache.spark.sql.{Row, SaveMode}
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.analysis.{TableAlreadyExistsException, UnresolvedRelation}
import org.apache.spark.sql.catalyst.catalog.SessionCatalog
import org.apache.spark.sql.catalyst.plans.QueryPlan
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, Project}
import org.apache.spark.sql.sfbatch.Shims.Session
import scala.util.Try
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
      checkOptions(session)
      val warehouse = Warehouses.of(session)
      val table = warehouse.create(spec)
      query.foreach { rows =>
        try fill(session, name, rows)
        catch {
          case NonFatal(failure) =>
            val dropped =
              try isUnclear(failure) || dropUnwritten(catalog, warehouse, table)
              catch { case NonFatal(second) => failure.addSuppressed(second); true }
            throw failure match {
              case ours: SfBatchException if !dropped =>
                val there = s"Table ${name.unquotedString} is there, without these rows: INSERT INTO it."
                new SfBatchException(ours.code, s"${ours.detail} $there", ours)
              case other => other
            }
        }
      }
      catalog.refreshTable(name)
    } else if (mode != SaveMode.Ignore) throw new TableAlreadyExistsException(spec.database, spec.name)
    Nil
  }

  /** Before anything is made. */
  private def checkOptions(session: Session): Unit =
    if (query.isDefined && mode != SaveMode.Overwrite && WriteParameters.of(session, options).replaceWhere.isDefined)
      throw DeclaredPartitions.notInAppend

  /** EXTERNAL: no file goes. While the journal holds no row the same CREATE takes it up again (PROTOCOL.md,
    * owner.json); what another writer has filled meanwhile stays, and so does a table that another made under the name.
    */
  private def dropUnwritten(catalog: SessionCatalog, warehouse: Warehouse, table: Table): Boolean =
    warehouse.locked(table) {
      val mine = Try(warehouse.table(table.database, table.name)).toOption.exists(_.id == table.id)
      val unwritten = warehouse.history(table, None, 2).forall(_.operation == "create")
      if (mine && unwritten)
        catalog.dropTable(TableIdentifier(table.name, Some(table.database)), ignoreIfNotExists = true, purge = false)
      unwritten || !mine
    }

  /** Its rows may be there. */
  private def isUnclear(failure: Throwable): Boolean = failure match {
    case ours: SfBatchException => ours.code == "SFBATCH_PUBLISH_UNCLEAR"
    case _ => false
  }

  private def fill(session: Session, name: TableIdentifier, rows: LogicalPlan): Unit = {
    val partitionNames = spec.partitionColumns.map(_.name)
    def isPartition(column: String) = partitionNames.exists(_.equalsIgnoreCase(column))
    val last = partitionNames.map(p => rows.output.find(_.name.equalsIgnoreCase(p)).get)
    val ordered = Project(rows.output.filterNot(c => isPartition(c.name)) ++ last, rows)
    // Rows outside what replaceWhere names are refused. Without it what others wrote meanwhile stays.
    val overwrite = WriteParameters.of(session, options).replaceWhere.isDefined
    val insert = Inserts.byPosition(UnresolvedRelation(name), ordered, overwrite, options)
    SparkFailure.unwrapped(session.sessionState.executePlan(insert).assertCommandExecuted())
  }
}
