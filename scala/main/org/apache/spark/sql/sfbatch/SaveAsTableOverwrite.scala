package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.catalog.HiveTableRelation
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, SubqueryAlias}
import scala.annotation.tailrec

/** Refuses `df.write.mode("overwrite").saveAsTable` on a table of ours before Spark drops it; must cost nothing
  * elsewhere.
  *
  * `DataFrameWriter.saveAsTable` (3.5.6 and 4.0.2) resolves the table by `session.table(name)` and then drops it by the
  * session catalog, where no rule is asked. That lookup, a bare relation of ours with saveAsTable right above it, is
  * the one moment to say no.
  */
object SaveAsTableOverwrite {
  @tailrec def check(plan: LogicalPlan): Unit = plan match {
    case SubqueryAlias(_, child) => check(child)
    case HiveTableRelation(table, _, _, _, _) if OurTable.isOurs(table) && fromSaveAsTable =>
      Guards.no(
        table,
        "mode('overwrite').saveAsTable",
        "Spark would drop the table first",
        s"df.write.mode('overwrite').insertInto('${Guards.name(table)}'), or .format('sfbatch').mode('overwrite').save('${Guards.name(table)}'): only the partitions in the data change"
      )
    case _ =>
  }

  private def fromSaveAsTable: Boolean = {
    val frames = Thread.currentThread.getStackTrace.toSeq.map(f => (f.getClassName, f.getMethodName))
    val lookup = frames.lastIndexWhere { case (owner, method) =>
      owner.endsWith("DataFrameWriter") && method == "saveAsTable"
    }
    // Spark's own analysis of the frame that is saved runs under saveAsTable too, but not below SparkSession.table.
    lookup >= 0 && frames.take(lookup).exists { case (owner, method) =>
      owner.endsWith("SparkSession") && method == "table"
    } &&
    !frames.take(lookup).exists(_._2.startsWith("createTable"))
  }
}
