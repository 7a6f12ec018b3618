package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{PartitionPath, SfBatchException}
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.expressions.{Cast, EvalMode, Literal}
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.sql.types.{DateType, IntegralType, StringType, StructField, TimestampNTZType, TimestampType}
import org.apache.spark.unsafe.types.UTF8String
import scala.util.Try

/** A partition as people write it, `year=2016/month=10`, to its columns and values as the metastore holds them; must
  * refuse unknown columns.
  */
object PartitionArgument {

  /** `parse(t, "month=07/year=2016") == Map("month" -> "7", "year" -> "2016")` for an int month; values may be escaped
    * as in the partition's name.
    */
  def parse(table: CatalogTable, text: String): Map[String, String] = {
    val pairs = text.split("/", -1).toSeq.map { segment =>
      segment.split("=", 2) match {
        case Array(name, value) => PartitionPath.unescape(name.trim) -> PartitionPath.unescape(value)
        case _ => bad(table, s"'$text' names no partition: expected ${example(table)}")
      }
    }
    pairs.groupBy(_._1.toLowerCase).collectFirst {
      case (name, same) if same.size > 1 => bad(table, s"'$text' names column '$name' twice")
    }
    typed(table, pairs.toMap)
  }

  /** Column names as the table has them, values as the metastore holds them: `01` of an int column is `1`, null is
    * Hive's default name.
    */
  def typed(table: CatalogTable, spec: Map[String, String]): Map[String, String] = spec.map { case (name, value) =>
    val column = table.partitionSchema
      .find(_.name.equalsIgnoreCase(name))
      .getOrElse(
        bad(table, s"'$name' is no partition column of ${table.identifier.unquotedString}: expected ${example(table)}")
      )
    column.name -> normal(table, column, value)
  }

  private def normal(table: CatalogTable, column: StructField, value: String): String =
    if (value == null || value.isEmpty || value == PartitionPath.Default) PartitionPath.Default
    else {
      val zone = Some(SQLConf.get.sessionLocalTimeZone)
      val text = Try(UTF8String.fromString(PartitionValues.padded(column, value))).getOrElse(null)
      val parsed = Cast(Literal(text, StringType), column.dataType, zone, EvalMode.LEGACY).eval()
      if (parsed == null || isShort(column, value.trim))
        bad(table, s"'$value' is no ${column.dataType.sql}, the type of partition column '${column.name}'")
      Cast(Literal(parsed, column.dataType), StringType, zone, EvalMode.LEGACY).eval().toString
    }

  /** Spark takes `2016-07` for the first of July and `1.7` for 1; a drop or rollback must not. */
  private def isShort(column: StructField, value: String): Boolean = column.dataType match {
    case _: IntegralType => !value.matches("[+-]?[0-9]+")
    case DateType | TimestampType | TimestampNTZType => !value.matches("[+-]?[0-9]+-[0-9]+-[0-9]+.*")
    case _ => false
  }

  private def example(table: CatalogTable): String =
    if (table.partitionColumnNames.isEmpty) "nothing, as the table has no partitions"
    else table.partitionColumnNames.map(_ + "=...").mkString("'", "/", "'")

  private def bad(table: CatalogTable, why: String): Nothing =
    throw new SfBatchException("SFBATCH_BAD_PARTITION", s"$why.")
}
