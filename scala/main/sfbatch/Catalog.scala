package sfbatch

import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.metastore.TableType
import org.apache.hadoop.hive.metastore.api.{FieldSchema, SerDeInfo, StorageDescriptor, Table => HiveTable}
import scala.collection.JavaConverters._

/** Between the metastore's table objects and ours. */
private[sfbatch] object Catalog {

  def columns(fields: java.util.List[FieldSchema]): Seq[Column] =
    fields.asScala.toVector.map(f => Column(f.getName, f.getType, Option(f.getComment)))

  def storage(sd: StorageDescriptor): Storage = Storage(
    sd.getInputFormat,
    sd.getOutputFormat,
    sd.getSerdeInfo.getSerializationLib,
    Option(sd.getSerdeInfo.getParameters).map(_.asScala.toMap).getOrElse(Map.empty)
  )

  /** @throws SfBatchException SFBATCH_NOT_OURS, SFBATCH_PROTOCOL_UNKNOWN */
  def table(hive: HiveTable): Table = {
    val parameters = hive.getParameters.asScala.toMap
    val full = s"${hive.getDbName}.${hive.getTableName}"
    val id = parameters.getOrElse(
      Table.Id,
      throw Errors.notOurs(
        full,
        isView = hive.getTableType == TableType.VIRTUAL_VIEW.name,
        parameters.get("spark.sql.sources.provider")
      )
    )
    parameters.get(Table.Protocol) match {
      case Some(number) if number == Protocol.Number.toString => ()
      case other => Protocol.unknown(other.getOrElse("none"), s"table $full")
    }
    val partitionColumns = Option(hive.getPartitionKeys).map(columns).getOrElse(Nil)
    Table(
      hive.getDbName,
      hive.getTableName,
      id,
      new Path(
        parameters.getOrElse(
          Table.Root,
          throw new SfBatchException(
            "SFBATCH_NOT_OURS",
            s"$full has lost its property ${Table.Root}; set it to the table's root directory."
          )
        )
      ),
      new Path(hive.getSd.getLocation),
      PartitionStyle.of(parameters.getOrElse(Table.Style, PartitionStyle.Value.name)),
      parameters.getOrElse(Table.FormatName, "hive"),
      storage(hive.getSd),
      columns(hive.getSd.getCols),
      partitionColumns,
      parameters
    )
  }

  /** Turns `hive` into a table of ours, in place; table-level statistics go, as nothing would refresh them. */
  def claim(hive: HiveTable, id: String, format: String, style: PartitionStyle, root: Path): HiveTable = {
    hive.setTableType("EXTERNAL_TABLE")
    val ours = Map(
      "EXTERNAL" -> "TRUE",
      "external.table.purge" -> "false",
      Table.Id -> id,
      Table.Protocol -> Protocol.Number.toString,
      Table.FormatName -> format,
      Table.Style -> style.name,
      Table.Root -> root.toString
    )
    hive.setParameters(
      new java.util.HashMap(
        (Publisher.withoutStatistics(
          Option(hive.getParameters).map(_.asScala.toMap).getOrElse(Map.empty)
        ) - Table.Version - Table.BatchIdName ++ ours).asJava
      )
    )
    hive
  }

  def hiveTable(spec: TableSpec, id: String, root: Path, location: Path, owner: String): HiveTable = {
    val sd = new StorageDescriptor
    sd.setCols(spec.columns.map(Publisher.fieldSchema).asJava)
    sd.setLocation(location.toString)
    sd.setInputFormat(spec.storage.inputFormat)
    sd.setOutputFormat(spec.storage.outputFormat)
    val serde = new SerDeInfo
    serde.setSerializationLib(spec.storage.serde)
    serde.setParameters(
      new java.util.HashMap((Map("serialization.format" -> "1") ++ spec.storage.serdeProperties).asJava)
    )
    sd.setSerdeInfo(serde)
    sd.setNumBuckets(-1)
    sd.setBucketCols(java.util.Collections.emptyList[String])
    sd.setSortCols(java.util.Collections.emptyList())
    sd.setParameters(new java.util.HashMap[String, String])
    val hive = new HiveTable
    hive.setDbName(spec.database)
    hive.setTableName(spec.name)
    hive.setOwner(owner)
    hive.setCreateTime((System.currentTimeMillis() / 1000).toInt)
    hive.setSd(sd)
    hive.setPartitionKeys(spec.partitionColumns.map(Publisher.fieldSchema).asJava)
    hive.setParameters(new java.util.HashMap((spec.properties ++ spec.comment.map("comment" -> _)).asJava))
    claim(hive, id, spec.format.name, spec.style, root)
  }

  /** An unpartitioned table adopted at L keeps its new batches in L/_batches, where no reader of L sees one being
    * written.
    */
  val AdoptedBatches = "_batches"
  def adoptedLocation(root: Path): Path = if (root.getName == AdoptedBatches) root.getParent else root
}
