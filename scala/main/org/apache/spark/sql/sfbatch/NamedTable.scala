package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException
import java.util.Locale
import org.apache.spark.sql.AnalysisException
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.parser.CatalystSqlParser
import org.apache.spark.sql.connector.catalog.CatalogManager
import org.apache.spark.sql.sfbatch.Shims.Session

/** The table that `load("db.t")`, `save("db.t")` or option `table` names. */
object NamedTable {

  /** `"db.t"` or `"spark_catalog.db.t"`, or `"t"` of the current database, which no temporary view can stand for.
    *
    * @throws SfBatchException
    *   SFBATCH_BAD_OPTION
    */
  def of(session: Session, options: Map[String, String]): TableIdentifier = {
    def option(name: String): Option[String] = options.collectFirst {
      case (key, value) if key.equalsIgnoreCase(name) => value.trim
    }
    val name = (option("path"), option("table")) match {
      case (Some(path), Some(table)) if path != table =>
        bad(s"both '$path' and option table = '$table' name a table: give one.")
      case (Some(path), _) => path
      case (None, Some(table)) => table
      case (None, None) =>
        bad("which table? Name it: .save(\"db.table\"), .load(\"db.table\") or .option(\"table\", \"db.table\").")
    }
    val parts =
      try CatalystSqlParser.parseMultipartIdentifier(name)
      catch {
        case _: AnalysisException =>
          bad(s"'$name' is not the name of a table: expected db.table (a path is not needed, the table knows its own).")
      }
    parts match {
      case Seq(CatalogManager.SESSION_CATALOG_NAME, database, table) => TableIdentifier(table, Some(database))
      case Seq(database, table) => TableIdentifier(table, Some(database))
      case Seq(table) => TableIdentifier(table, Some(session.sessionState.catalog.getCurrentDatabase))
      case _ =>
        bad(
          s"'$name' names another catalog: sfbatch tables are in ${CatalogManager.SESSION_CATALOG_NAME}, expected db.table."
        )
    }
  }

  /** With its catalog, so that no other can be meant. */
  def ofRead(session: Session, options: Map[String, String]): TableIdentifier = {
    options.keys.find(key => !key.equalsIgnoreCase("path") && !key.equalsIgnoreCase("table")).foreach { key =>
      bad(
        if (key.toLowerCase(Locale.ROOT).endsWith("asof"))
          s"'$key': a read is of now. CALL sfbatch.history shows where earlier batches lie; CALL sfbatch.rollback goes back to one."
        else s"'$key' is not an option of a read. Options: table."
      )
    }
    of(session, options).copy(catalog = Some(CatalogManager.SESSION_CATALOG_NAME))
  }

  private def bad(detail: String): Nothing = throw new SfBatchException("SFBATCH_BAD_OPTION", detail)
}
