package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.sfbatch.Shims.Session

/** Makes this session read what was just published; must not touch what it caches of other tables. */
object Caches {
  def refresh(session: Session, table: TableIdentifier): Unit =
    if (session.sessionState.catalog.tableExists(table)) session.catalog.refreshTable(table.quotedString)
}
