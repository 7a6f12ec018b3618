package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{SfBatchCatalog, SfBatchException}
import java.util
import org.apache.spark.sql.catalyst.analysis.UnresolvedAttribute
import org.apache.spark.sql.catalyst.catalog.{CatalogTable, UnresolvedCatalogRelation}
import org.apache.spark.sql.catalyst.expressions.{Attribute, Expression, Literal}
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.connector.catalog.{CatalogManager, SupportsWrite, Table, TableCapability, V1Table}
import org.apache.spark.sql.connector.expressions.Transform
import org.apache.spark.sql.connector.write.{LogicalWriteInfo, WriteBuilder}
import org.apache.spark.sql.execution.datasources.v2.DataSourceV2Relation
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types.StructType
import scala.jdk.CollectionConverters._

/** What [[SfBatchCatalog]] gives a writer, so that Spark's resolution lets it pass to [[WriteTo]]; never written
  * through.
  */
final case class WritableTable(catalogTable: CatalogTable) extends SupportsWrite {
  private def v1 = V1Table(catalogTable)
  override def name: String = v1.name
  override def schema: StructType = v1.schema
  override def partitioning: Array[Transform] = v1.partitioning
  override def properties: util.Map[String, String] = v1.properties
  override def capabilities: util.Set[TableCapability] = Set(
    TableCapability.BATCH_WRITE,
    TableCapability.ACCEPT_ANY_SCHEMA,
    TableCapability.OVERWRITE_BY_FILTER,
    TableCapability.OVERWRITE_DYNAMIC
  ).asJava
  override def newWriteBuilder(info: LogicalWriteInfo): WriteBuilder =
    throw new IllegalStateException(s"$name is written by sfbatch's own command only")
}

object WritableTable {
  def of(table: Table): Table = table match {
    case V1Table(catalogTable) if OurTable.isOurs(catalogTable) => WritableTable(catalogTable)
    case other => other
  }
}

/** Turns `df.writeTo("db.t")` and INSERT ... REPLACE WHERE on our tables into ordinary inserts. */
final case class WriteTo(session: Session) extends Rule[LogicalPlan] {
  override def apply(plan: LogicalPlan): LogicalPlan = plan.resolveOperators {
    case i: InsertIntoStatement =>
      i.table match {
        case DataSourceV2Relation(WritableTable(table), _, _, _, _) =>
          WriteTo.onTable(i, UnresolvedCatalogRelation(table))
        case _ => i
      }
    case write: V2WriteCommand =>
      write.table match {
        case DataSourceV2Relation(WritableTable(table), _, _, _, _) =>
          WriteTo.insert(table, UnresolvedCatalogRelation(table), write).getOrElse(write)
        case _ => write
      }
  }
}

object WriteTo {
  private def onTable(i: InsertIntoStatement, table: LogicalPlan): InsertIntoStatement =
    Later.call( // Spark 4.2 has more fields: they stay
      i,
      "copy",
      table,
      i.partitionSpec,
      i.userSpecifiedCols,
      i.query,
      i.overwrite,
      i.ifPartitionNotExists,
      i.byName
    )

  def insert(table: CatalogTable, target: LogicalPlan, write: V2WriteCommand): Option[LogicalPlan] = write match {
    case a: AppendData => Some(into(target, a.query, overwrite = false, a.isByName, a.writeOptions))
    case o: OverwritePartitionsDynamic => Some(into(target, o.query, overwrite = true, o.isByName, o.writeOptions))
    case o: OverwriteByExpression =>
      o.deleteExpr match {
        case Literal(true, _) if !o.isByName || table.partitionColumnNames.isEmpty =>
          Some(into(target, o.query, overwrite = true, o.isByName, o.writeOptions))
        case Literal(true, _) =>
          Guards.no(
            table,
            "overwrite(true)",
            "it would drop every partition that the data does not have",
            "overwritePartitions(), and ALTER TABLE ... DROP PARTITION for the others"
          )
        case _ => Some(replacing(target, o))
      }
    case _ => None
  }

  /** The partitions that its condition names are replaced. */
  def replacing(target: LogicalPlan, o: OverwriteByExpression): LogicalPlan =
    into(target, o.query, overwrite = true, o.isByName, o.writeOptions ++ replaceWhere(o.deleteExpr))

  private def into(
      target: LogicalPlan,
      query: LogicalPlan,
      overwrite: Boolean,
      byName: Boolean,
      options: Map[String, String]
  ) =
    if (byName) Inserts.byName(target, query, overwrite, options)
    else Inserts.byPosition(target, query, overwrite, options)

  /** The option that says so, its condition as a user would write it: bare column names. */
  def replaceWhere(condition: Expression): Map[String, String] =
    Map("replaceWhere" -> condition.transform { case a: Attribute => UnresolvedAttribute(Seq(a.name)) }.sql)

  /** Spark refuses `writeTo` on a Hive table before any rule, unless the session catalog is ours (ResolveRelations,
    * 3.5.6, 4.0.2).
    */
  def checkCatalog(session: Session, parts: Seq[String]): Unit =
    if (calledFromWriteTo && OurTable.of(session, parts).isDefined)
      Later.call[AnyRef]( // a class, an interface from Spark 4.2 on
        session.sessionState.catalogManager,
        "catalog",
        CatalogManager.SESSION_CATALOG_NAME
      ) match {
        case _: SfBatchCatalog =>
        case other =>
          throw new SfBatchException(
            "SFBATCH_CATALOG_TAKEN",
            s"writeTo('${parts.mkString(".")}') needs spark.sql.catalog.spark_catalog=sfbatch.SfBatchCatalog, but ${other.getClass.getName} is there. " +
              "Instead: df.write.insertInto or df.write.format('sfbatch').mode(...).saveAsTable, which need no catalog."
          )
      }

  private def calledFromWriteTo: Boolean = Thread.currentThread.getStackTrace
    .take(10)
    .exists(f => f.getClassName.endsWith(".DataFrameWriterV2") && f.getMethodName == "<init>")
}
