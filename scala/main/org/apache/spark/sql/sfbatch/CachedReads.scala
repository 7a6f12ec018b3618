package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.sfbatch.Shims.Session

/** The session that wrote must read what it wrote: its cached relation and cached DataFrames of the table. */
object CachedReads {
  def refresh(session: Session, table: TableIdentifier): Unit =
    if (session.sharedState.cacheManager.isEmpty) session.sessionState.catalog.refreshTable(table)
    else
      session.catalog.refreshTable(table.quotedString) // recaches dependents too, and asks the metastore for the table
}
