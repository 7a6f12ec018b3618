package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, SubqueryAlias}
import scala.annotation.tailrec

/** Refuses `df.write.mode("overwrite").saveAsTable` on a table of ours, and in our format on any other, before Spark
  * drops it; must cost nothing elsewhere.
  *
  * `DataFrameWriter.saveAsTable` (3.5.6 and 4.0.2) resolves the table by `session.table(name)` and then drops it by the
  * session catalog, where no rule is asked. That lookup, a bare relation with saveAsTable right above it, is the one
  * moment to say no.
  */
object SaveAsTableOverwrite {
  @tailrec def check(plan: LogicalPlan): Unit = plan match {
    case SubqueryAlias(_, child) => check(child)
    case relation =>
      WriteRule.target(relation).filter(t => (OurTable.isOurs(t) || intoOurs.get) && fromSaveAsTable).foreach { table =>
        val title = Guards.name(table)
        if (OurTable.isOurs(table))
          Guards.no(
            table,
            "mode('overwrite').saveAsTable",
            "Spark would drop the table first",
            s"df.write.mode('overwrite').insertInto('$title'), or .format('sfbatch').mode('overwrite').save('$title'): only the partitions in the data change"
          )
        else
          throw new SfBatchException(
            "SFBATCH_NOT_OURS",
            s"$title is not an sfbatch table, and Spark would drop it to make one. Make it one, files in place: CALL sfbatch.adopt(table => '$title'); or DROP TABLE it yourself; or save under another name."
          )
      }
  }

  /** Whether this thread's last DataFrameWriter writes `format("sfbatch")`. Looking up its source, before the table, it
    * has ServiceLoader make one of every source, and then makes the chosen one (DataSource.lookupDataSourceV2).
    */
  private val intoOurs = ThreadLocal.withInitial[Boolean](() => false)
  def sourceMade(): Unit = {
    val frames = Thread.currentThread.getStackTrace
    if (frames.exists(_.getMethodName == "lookupV2Provider"))
      intoOurs.set(!frames.exists(_.getClassName.startsWith("java.util.ServiceLoader")))
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
