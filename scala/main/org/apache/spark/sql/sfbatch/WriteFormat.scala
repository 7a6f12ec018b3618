package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{SfBatchException, Table}
import java.util.Properties
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.ql.io.HiveOutputFormat
import org.apache.hadoop.hive.ql.plan.{FileSinkDesc, TableDesc}
import org.apache.hadoop.mapred.{InputFormat, TextInputFormat}
import org.apache.hadoop.hive.serde.serdeConstants
import org.apache.spark.sql.execution.datasources.FileFormat
import org.apache.spark.sql.execution.datasources.orc.{OrcFileFormat, OrcOptions}
import org.apache.spark.sql.execution.datasources.parquet.{ParquetFileFormat, ParquetOptions}
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.sql.hive.execution.{HiveFileFormat, V1WritesHiveUtils}
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.util.Utils

/** How a table's files are made: Spark's own Parquet and ORC writers, Hive's for delimited text; must agree with the
  * table's storage.
  */
final case class WriteFormat(files: FileFormat, options: Map[String, String])

object WriteFormat extends V1WritesHiveUtils {

  /** Later wins: table properties, SerDe properties, the writer's options. @throws SfBatchException
    * SFBATCH_UNSUPPORTED, SFBATCH_BAD_OPTION
    */
  def of(table: CatalogTable, provided: Map[String, String]): WriteFormat = {
    val ofTable = table.properties.filter { case (key, _) => key.startsWith("parquet.") || key.startsWith("orc.") }
    val options = ofTable ++ table.storage.properties ++ provided
    val serde = table.storage.serde.getOrElse("")
    checkCompression(table.properties.getOrElse(Table.FormatName, ""), options)
    table.properties.getOrElse(Table.FormatName, "") match {
      case "parquet" => WriteFormat(new ParquetFileFormat, options)
      case "orc" => WriteFormat(new OrcFileFormat, options)
      case "text" if serde.endsWith("LazySimpleSerDe") => WriteFormat(new HiveFileFormat(sink(table)), options)
      case other =>
        throw new SfBatchException(
          "SFBATCH_UNSUPPORTED",
          s"${table.identifier.unquotedString} holds '$other' files (SerDe $serde, input format ${table.storage.inputFormat.getOrElse("")}), which sfbatch reads and rolls back but does not write. " +
            "Write into a table STORED AS Parquet, ORC or text."
        )
    }
  }

  /** Spark itself would find an unknown codec only when it writes. @throws SfBatchException SFBATCH_BAD_OPTION */
  def checkCompression(format: String, options: Map[String, String]): Unit =
    try
      format match {
        case "parquet" => new ParquetOptions(options, SQLConf.get).compressionCodecClassName
        case "orc" => new OrcOptions(options, SQLConf.get).compressionCodec
        case _ => ()
      }
    catch {
      case e: IllegalArgumentException =>
        throw new SfBatchException("SFBATCH_BAD_OPTION", s"compression: ${e.getMessage}", e)
    }

  /** Compression of text files follows Hive's settings (`hive.exec.compress.output`). */
  def configure(session: Session, format: WriteFormat, table: CatalogTable, conf: Configuration): FileFormat =
    format.files match {
      case _: HiveFileFormat =>
        val desc = sink(table)
        setupHadoopConfForCompression(desc, conf, session)
        new HiveFileFormat(desc)
      case files => files
    }

  /** By the properties that readers go by: a table property hides the SerDe's of its name (MetaStoreUtils.getSchema,
    * Hive 2.3.9).
    */
  private def sink(table: CatalogTable): FileSinkDesc = {
    val properties = new Properties
    def set(key: String, value: String): Unit = properties.setProperty(key, value)
    (table.storage.properties ++ table.properties).foreach { case (key, value) => set(key, value) }
    set(serdeConstants.LIST_COLUMNS, table.dataSchema.map(_.name).mkString(","))
    set(serdeConstants.LIST_COLUMN_TYPES, table.dataSchema.map(_.dataType.catalogString).mkString(":"))
    set(serdeConstants.SERIALIZATION_LIB, table.storage.serde.get)
    val desc = new TableDesc(
      Utils.classForName[InputFormat[_, _]](table.storage.inputFormat.getOrElse(classOf[TextInputFormat].getName)),
      Utils.classForName[HiveOutputFormat[_, _]](table.storage.outputFormat.get),
      properties
    )
    new FileSinkDesc(new Path(table.location), desc, false)
  }
}
