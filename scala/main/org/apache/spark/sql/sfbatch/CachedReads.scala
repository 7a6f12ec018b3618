package org.apache.spark.sql.sfbatch

import org.apache.spark.internal.Logging
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.sfbatch.Shims.Session
import scala.util.control.NonFatal

/** The session that wrote must read what it wrote: its cached relation and cached DataFrames of the table. What was
  * done is done: must never make it look failed.
  */
object CachedReads extends Logging {
  def refresh(session: Session, table: TableIdentifier): Unit =
    try
      if (session.sharedState.cacheManager.isEmpty) session.sessionState.catalog.refreshTable(table)
      else
        session.catalog.refreshTable(
          table.quotedString
        ) // recaches dependents too, and asks the metastore for the table
    catch {
      case NonFatal(e) =>
        logWarning(
          s"${table.unquotedString} is as it should be, but what this session has cached of it is not: UNCACHE it, or REFRESH TABLE ${table.quotedString}",
          e
        )
    }
}
