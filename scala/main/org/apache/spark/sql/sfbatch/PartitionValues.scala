package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{Column, PartitionPath, PartitionStyle}
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.{AttributeReference, Cast, Literal}
import org.apache.spark.sql.catalyst.util.CharVarcharUtils
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.sql.types.{DataType, StringType}
import org.apache.spark.unsafe.types.UTF8String

/** Partition values as the metastore holds them (text), from Spark's paths, our paths and back to typed values. */
object PartitionValues {

  /** `x=a%2Fb/y=1`, as Spark names a partition's directory, to `Seq("a/b", "1")`. */
  def ofSparkDirectory(directory: String): Seq[String] =
    if (directory.isEmpty) Nil
    else directory.split("/").toSeq.map(segment => PartitionPath.unescape(segment.substring(segment.indexOf('=') + 1)))

  /** The directories of a file's batch, outermost first: `Seq("a%2Fb", "1")` to `Seq("a/b", "1")`. */
  def ofSegments(style: PartitionStyle, segments: Seq[String]): Seq[String] =
    segments.map { segment =>
      PartitionPath.unescape(if (style == PartitionStyle.Hive) segment.substring(segment.indexOf('=') + 1) else segment)
    }

  /** A value as `PARTITION (p = '01')` gives it, as text of the column's type: `1` for an int. */
  def normalized(value: String, column: DataType): String = text(UTF8String.fromString(value), StringType, column)

  /** Text of a value once it is cast to the column's type. */
  def text(value: Any, dataType: DataType, column: DataType): String = {
    val zone = Some(SQLConf.get.sessionLocalTimeZone)
    val cast = Cast(Cast(Literal.create(value, dataType), column, zone), StringType, zone).eval(InternalRow.empty)
    if (cast == null || cast.toString.isEmpty) PartitionPath.Default else cast.toString
  }

  def row(values: Seq[String], columns: Seq[AttributeReference]): InternalRow = {
    val zone = Some(SQLConf.get.sessionLocalTimeZone)
    InternalRow.fromSeq(values.zip(columns).map { case (value, column) =>
      if (value == PartitionPath.Default) null
      else Cast(Literal(UTF8String.fromString(value), StringType), column.dataType, zone).eval(InternalRow.empty)
    })
  }

  def attributes(columns: Seq[Column]): Seq[AttributeReference] =
    columns.map { c =>
      AttributeReference(c.name, CharVarcharUtils.replaceCharVarcharWithString(DataType.fromDDL(c.dataType)))()
    }

  /** `date=20161001/hour=3`, for messages. */
  def show(columns: Seq[Column], values: Seq[String]): String = PartitionPath.name(columns.map(_.name), values)
}
