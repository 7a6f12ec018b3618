package org.apache.spark.sql.sfbatch

import _root_.sfbatch.Table
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.analysis.{NoSuchDatabaseException, NoSuchTableException}
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.connector.catalog.CatalogManager
import org.apache.spark.sql.sfbatch.Shims.Session

/** Tells which names are tables of ours; must never fail, nor say yes, on any other name. */
object OurTable {
  def isOurs(table: CatalogTable): Boolean = table.properties.contains(Table.Id)

  def of(session: Session, name: TableIdentifier): Option[CatalogTable] = {
    val catalog = session.sessionState.catalog
    if (name.catalog.exists(_ != CatalogManager.SESSION_CATALOG_NAME) || catalog.isTempView(name)) None
    else
      try Some(catalog.getTableMetadata(name)).filter(isOurs)
      catch { case _: NoSuchTableException | _: NoSuchDatabaseException => None }
  }

  def of(session: Session, nameParts: Seq[String]): Option[CatalogTable] = {
    val analyzer = session.sessionState.analyzer
    import analyzer.SessionCatalogAndIdentifier
    if (session.sessionState.catalog.isTempView(nameParts)) None
    else
      nameParts match {
        case SessionCatalogAndIdentifier(_, name) if name.namespace.length == 1 =>
          of(session, TableIdentifier(name.name, Some(name.namespace.head)))
        case _ => None
      }
  }
}
