package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{Column, PartitionPath, SfBatchException}
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.{AttributeReference, Cast, Literal}
import org.apache.spark.sql.catalyst.types.DataTypeUtils.toAttributes
import org.apache.spark.sql.catalyst.util.{CharVarcharCodegenUtils, CharVarcharUtils}
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.sql.types.{CharType, DataType, StringType, StructField, StructType, VarcharType}
import org.apache.spark.unsafe.types.UTF8String
import scala.util.Try

/** Partition values as the metastore holds them (text), and as typed values. */
object PartitionValues {

  /** A value as `PARTITION (p = '01')` gives it, as text of the column's type: `1` for an int, padded for a CHAR. Text
    * that is no such value would otherwise name the partition of NULL.
    *
    * @throws SfBatchException
    *   SFBATCH_BAD_PARTITION_VALUE
    */
  def normalized(column: StructField, value: String): String =
    if (value == null || value == PartitionPath.Default) PartitionPath.Default
    else
      Try(text(UTF8String.fromString(padded(column, value)), StringType, column.dataType))
        .filter(_ != PartitionPath.Default)
        .getOrElse(
          throw new SfBatchException(
            "SFBATCH_BAD_PARTITION_VALUE",
            s"'$value' is no ${declared(column).sql}, the type of partition column '${column.name}'. Give one, or ${column.name} = NULL for the partition of NULL."
          )
        )

  /** Whether a write would give the partition this very name: `m=1`, not `m=01`, of an INT. */
  def isAsWritten(columns: Seq[StructField], name: String): Boolean =
    PartitionPath.values(name).zip(columns).forall { case (value, column) =>
      Try(normalized(column, value)).toOption.contains(value)
    }

  /** As Spark pads and checks what it writes into a CHAR or VARCHAR (PartitioningUtils.normalizePartitionSpec, 3.5.6).
    */
  def padded(column: StructField, value: String): String = declared(column) match {
    case CharType(length) =>
      CharVarcharCodegenUtils.charTypeWriteSideCheck(UTF8String.fromString(value), length).toString
    case VarcharType(length) =>
      CharVarcharCodegenUtils.varcharTypeWriteSideCheck(UTF8String.fromString(value), length).toString
    case _ => value
  }

  private def declared(column: StructField): DataType =
    if (SQLConf.get.charVarcharAsString) column.dataType
    else CharVarcharUtils.getRawType(column.metadata).getOrElse(column.dataType)

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
    toAttributes(
      CharVarcharUtils.replaceCharVarcharWithStringInSchema(
        StructType(columns.map(c => StructField(c.name, DataType.fromDDL(c.dataType))))
      )
    )

  /** `date=20161001/hour=3`, for messages. */
  def show(columns: Seq[Column], values: Seq[String]): String = PartitionPath.name(columns.map(_.name), values)
}
