package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{SfBatchException, Table}
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.catalyst.util.CharVarcharUtils
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.sql.types._

/** What can be known wrong before the first byte; each error names the columns and the mend. */
object WriteChecks {

  /** @throws SfBatchException SFBATCH_COLUMN_MISMATCH: missing, extra and duplicate columns, all of them at once */
  def sameColumns(table: CatalogTable, query: LogicalPlan): Unit = {
    val resolver = SQLConf.get.resolver
    val columns = query.output.map(_.name)
    val wanted = table.schema.map(_.name)
    val missing = wanted.filterNot(w => columns.exists(resolver(_, w)))
    val extra = columns.filterNot(g => wanted.exists(resolver(_, g)))
    val twice = columns.filter(g => columns.count(resolver(_, g)) > 1).distinct
    val problems = Seq("missing" -> missing, "not in the table" -> extra, "there twice" -> twice).collect {
      case (what, names) if names.nonEmpty => s"$what: ${names.map(n => s"'$n'").mkString(", ")}"
    }
    if (problems.nonEmpty)
      mismatch(
        table,
        s"${problems.mkString("; ")}. The table has (${wanted.mkString(", ")}). Select exactly these, " +
          "e.g. lit(null) for a missing one, or ALTER TABLE ... ADD COLUMNS for a new one"
      )
  }

  def noDuplicates(table: CatalogTable): Unit = {
    val names = table.schema.map(_.name.toLowerCase(java.util.Locale.ROOT))
    val twice = names.diff(names.distinct).distinct
    if (twice.nonEmpty)
      mismatch(table, s"the table itself has columns that differ by case only: ${twice.mkString(", ")}. Rename one")
  }

  /** @throws SfBatchException SFBATCH_UNSUPPORTED, SFBATCH_BAD_COLUMN */
  def storable(table: CatalogTable, format: WriteFormat): Unit = {
    table.partitionSchema.foreach { field =>
      field.dataType match {
        case _: ArrayType | _: MapType | _: StructType | BinaryType =>
          unsupported(
            table,
            s"partition column '${field.name}' has type ${field.dataType.sql}, which no directory can name"
          )
        case _ => ()
      }
    }
    table.schema.foreach { field =>
      val declared = CharVarcharUtils.getRawType(field.metadata).getOrElse(field.dataType)
      TableSpecs.checkType(
        table.identifier.unquotedString,
        table.properties.getOrElse(Table.FormatName, ""),
        field.name,
        declared
      )
    }
    table.dataSchema.foreach { field =>
      if (!format.files.supportDataType(field.dataType))
        unsupported(
          table,
          s"column '${field.name}' has type ${field.dataType.sql}, which ${table.properties.getOrElse(Table.FormatName, "")} files do not hold; CAST it"
        )
      if (!format.files.supportFieldName(field.name))
        unsupported(
          table,
          s"column '${field.name}' has a name that ${table.properties.getOrElse(Table.FormatName, "")} files do not hold; rename it"
        )
    }
  }

  /** The table as the metastore has it now against the one the query was planned for. */
  def unchanged(table: Table, planned: CatalogTable): Unit = {
    val now = (table.columns ++ table.partitionColumns).map(_.name)
    val before = planned.schema.map(_.name.toLowerCase(java.util.Locale.ROOT))
    if (now.map(_.toLowerCase(java.util.Locale.ROOT)) != before)
      mismatch(
        planned,
        s"its columns changed while this write was planned, from (${before.mkString(", ")}) to (${now.mkString(", ")}). Run it again"
      )
  }

  def mismatch(table: CatalogTable, detail: String, cause: Throwable = null): Nothing =
    throw new SfBatchException("SFBATCH_COLUMN_MISMATCH", s"${table.identifier.unquotedString}: $detail.", cause)

  private def unsupported(table: CatalogTable, detail: String): Nothing =
    throw new SfBatchException("SFBATCH_UNSUPPORTED", s"${table.identifier.unquotedString}: $detail.")
}
