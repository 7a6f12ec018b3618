package sfbatch

import org.apache.hadoop.fs.Path

/** A data or partition column; `dataType` as Hive spells it, e.g. `decimal(10,2)`. */
final case class Column(name: String, dataType: String, comment: Option[String] = None)

/** How files are read and written, as a Hive storage descriptor says it. */
final case class Storage(
    inputFormat: String,
    outputFormat: String,
    serde: String,
    serdeProperties: Map[String, String] = Map.empty
)

/** The formats that can be written. */
sealed abstract class Format(val name: String, val storage: Storage)

object Format {
  private def hive = "org.apache.hadoop.hive.ql.io"
  case object Parquet
      extends Format(
        "parquet",
        Storage(
          s"$hive.parquet.MapredParquetInputFormat",
          s"$hive.parquet.MapredParquetOutputFormat",
          s"$hive.parquet.serde.ParquetHiveSerDe"
        )
      )
  case object Orc
      extends Format("orc", Storage(s"$hive.orc.OrcInputFormat", s"$hive.orc.OrcOutputFormat", s"$hive.orc.OrcSerde"))
  case object Text
      extends Format(
        "text",
        Storage(
          "org.apache.hadoop.mapred.TextInputFormat",
          s"$hive.HiveIgnoreKeyTextOutputFormat",
          "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
        )
      )
  def all: Seq[Format] = Seq(Parquet, Orc, Text)
  def of(name: String): Option[Format] = all.find(_.name == name.toLowerCase(java.util.Locale.ROOT))
}

/** `value`: `20161001/`; `hive`: `date=20161001/`. */
sealed abstract class PartitionStyle(val name: String) extends Serializable

object PartitionStyle {
  case object Value extends PartitionStyle("value")
  case object Hive extends PartitionStyle("hive")
  def of(name: String): PartitionStyle = name match {
    case "value" => Value
    case "hive" => Hive
    case other =>
      throw new SfBatchException(
        "SFBATCH_BAD_OPTION",
        s"sfbatch.partition-style = '$other': expected 'value' or 'hive'."
      )
  }
}

/** One table of ours as the metastore showed it at one moment; never refreshed in place. */
final case class Table(
    database: String,
    name: String,
    id: String,
    root: Path,
    location: Path,
    style: PartitionStyle,
    format: String,
    storage: Storage,
    columns: Seq[Column],
    partitionColumns: Seq[Column],
    parameters: Map[String, String]
) {
  def isPartitioned: Boolean = partitionColumns.nonEmpty
  override def toString: String = s"$database.$name"
}

object Table {
  val Id = "sfbatch.table-id"
  val Protocol = "sfbatch.protocol"
  val FormatName = "sfbatch.format"
  val Style = "sfbatch.partition-style"
  val Root = "sfbatch.root"
  val Version = "sfbatch.version"
  val BatchIdName = "sfbatch.batch-id"
}
