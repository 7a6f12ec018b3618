package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{Column, Format, PartitionStyle, SfBatchException, Store, Table, TableSpec}
import java.util.Locale
import org.apache.hadoop.fs.Path
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.parser.CatalystSqlParser
import org.apache.spark.sql.catalyst.util.{CharVarcharUtils, GeneratedColumn, ResolveDefaultColumns}
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types._
import scala.util.{Success, Try}

/** From what `CREATE TABLE ... USING sfbatch` says to a [[TableSpec]]; must refuse whatever a stock Hive reader could
  * not read.
  */
object TableSpecs {
  private val writeOptions = WriteParameters.Names :+ WriteParameters.MaxCopyBytes
  private val createOptions = Seq("format", "partition-style", "compression")

  /** Option as people spell it -> SerDe property of Hive's LazySimpleSerDe. */
  private val textOptions = Map(
    "delimiter" -> "field.delim",
    "sep" -> "field.delim",
    "field.delim" -> "field.delim",
    "escape" -> "escape.delim",
    "escape.delim" -> "escape.delim",
    "collection.delim" -> "colelction.delim",
    "colelction.delim" -> "colelction.delim",
    "mapkey.delim" -> "mapkey.delim",
    "nullvalue" -> "serialization.null.format",
    "serialization.null.format" -> "serialization.null.format"
  )

  /** `query`: the schema of CREATE TABLE AS SELECT, whose nullability is no promise. */
  def of(session: Session, description: CatalogTable, query: Option[StructType]): TableSpec = {
    val catalog = session.sessionState.catalog
    val database = description.identifier.database.getOrElse(catalog.getCurrentDatabase)
    val databaseLocation = catalog.getDatabaseMetadata(database).locationUri // fails when there is none
    val name = description.identifier.table
    val title = s"$database.$name"
    if (description.bucketSpec.isDefined || description.properties.contains("clusteringColumns"))
      unsupported(
        s"$title: sfbatch tables cannot be bucketed or clustered. Leave CLUSTERED BY / bucketBy out; partition instead."
      )
    checkProperties(description.properties)

    val options = description.storage.properties.map { case (key, value) => key.toLowerCase(Locale.ROOT) -> value }
    val format = formatOf(options.get("format").orElse(description.properties.get(Table.FormatName)))
    checkOptions(options.keySet, format)
    WriteFormat.checkCompression(format.name, description.properties ++ options)
    val style = PartitionStyle.of(
      options
        .get("partition-style")
        .orElse(description.properties.get(Table.Style))
        .getOrElse(PartitionStyle.Value.name)
    )

    val schema = query.getOrElse(description.schema)
    if (query.isEmpty) checkDeclared(title, schema)
    val columns = schema.fields.toSeq.map(columnOf(title, format, _))
    checkNames(title, columns)
    val partitionColumns = description.partitionColumnNames.map { wanted =>
      columns
        .find(_.name == lower(wanted))
        .getOrElse(
          throw new SfBatchException(
            "SFBATCH_BAD_COLUMN",
            s"$title: partition column '$wanted' is not among the columns ${columns.map(_.name).mkString(", ")}."
          )
        )
    }
    partitionColumns
      .diff(partitionColumns.distinct)
      .foreach(c => badColumn(title, c.name, "is named twice in PARTITIONED BY"))
    partitionColumns.foreach { c =>
      if (c.dataType.matches("(binary|array|map|struct).*"))
        badColumn(title, c.name, s"of type ${c.dataType} cannot be a partition column")
    }
    val dataColumns = columns.diff(partitionColumns)
    if (dataColumns.isEmpty) unsupported(s"$title: a table needs at least one column that is not a partition column.")

    val compression = options.get("compression").map { codec =>
      (if (format == Format.Orc) "orc.compress" else "parquet.compression") -> codec.toUpperCase(Locale.ROOT)
    }
    TableSpec(
      database = lower(database),
      name = lower(name),
      format = format,
      storage =
        format.storage.copy(serdeProperties = format.storage.serdeProperties ++ serdeProperties(format, options)),
      style = style,
      columns = dataColumns,
      partitionColumns = partitionColumns,
      location = description.storage.locationUri.map(new Path(_)).map { path =>
        val absolute = if (path.isAbsolute) path else new Path(new Path(databaseLocation), path)
        Store.of(absolute, session.sessionState.newHadoopConf()).qualified(absolute)
      },
      comment = description.comment,
      properties = description.properties - Table.FormatName - Table.Style ++ compression ++ options.filter {
        case (key, _) => ofFiles(key)
      }
    )
  }

  def columnOf(title: String, format: Format, field: StructField): Column = {
    val name = lower(field.name)
    val bad = name.find(c => ",:;`".contains(c) || Character.isISOControl(c))
    if (name.trim.isEmpty || name != name.trim) badColumn(title, name, "is empty or has spaces at its ends")
    bad.foreach(c => badColumn(title, name, s"has a character the Hive Metastore cannot keep in a column name: '$c'"))
    val declared = CharVarcharUtils.getRawType(field.metadata).getOrElse(field.dataType)
    checkType(title, format.name, name, declared)
    Column(name, declared.catalogString, field.getComment())
  }

  /** @throws SfBatchException SFBATCH_BAD_COLUMN */
  def checkType(title: String, format: String, column: String, declared: DataType): Unit =
    unreadable(declared).foreach { t =>
      val mend = t match {
        case _: StructType => "name its fields with letters, digits and _"
        case TimestampNTZType => "CAST it to TIMESTAMP, or RESET spark.sql.timestampType"
        case _ => "CAST it, e.g. to STRING or TIMESTAMP"
      }
      badColumn(title, column, s"has type ${t.sql}, which $format tables in Hive do not have; $mend")
    }

  private def unreadable(dataType: DataType): Option[DataType] = dataType match {
    case BooleanType | ByteType | ShortType | IntegerType | LongType | FloatType | DoubleType | StringType |
        BinaryType | DateType | TimestampType | _: DecimalType | _: CharType | _: VarcharType =>
      None
    case ArrayType(element, _) => unreadable(element)
    case MapType(key, value, _) => unreadable(key).orElse(unreadable(value))
    case StructType(fields) =>
      if (fields.isEmpty || fields.exists(f => !isReadBack(f.name))) Some(dataType)
      else fields.flatMap(f => unreadable(CharVarcharUtils.getRawType(f.metadata).getOrElse(f.dataType))).headOption
    case other => Some(other)
  }

  /** The metastore keeps `struct<name:int>`, which readers parse. */
  private def isReadBack(name: String): Boolean =
    Try(CatalystSqlParser.parseDataType(s"struct<$name:int>")) == Success(new StructType().add(name, IntegerType))

  private def checkDeclared(title: String, schema: StructType): Unit = {
    if (schema.isEmpty)
      unsupported(
        s"$title: name the columns, or use CREATE TABLE ... AS SELECT; sfbatch never infers a schema from files."
      )
    schema.foreach { field =>
      if (
        field.metadata
          .contains(GeneratedColumn.GENERATION_EXPRESSION_METADATA_KEY) || field.metadata.contains("identity.start")
      )
        unsupported(s"$title: column '${field.name}' is generated; compute it in the query that writes.")
      if (field.metadata.contains(ResolveDefaultColumns.CURRENT_DEFAULT_COLUMN_METADATA_KEY))
        unsupported(
          s"$title: column '${field.name}' has a DEFAULT, which no Hive reader knows; write the value in the query."
        )
      if (!field.nullable)
        unsupported(
          s"$title: column '${field.name}' is NOT NULL, which a Hive table does not enforce; leave NOT NULL out."
        )
    }
  }

  private def checkNames(title: String, columns: Seq[Column]): Unit =
    columns.groupBy(_.name).collectFirst {
      case (name, same) if same.size > 1 =>
        badColumn(title, name, "appears more than once (names differ at most by case); rename one")
    }

  private def checkProperties(properties: Map[String, String]): Unit = properties.foreach { case (key, value) =>
    if (key.startsWith("sfbatch.") && key != Table.FormatName && key != Table.Style)
      badOption(key, s"only '${Table.FormatName}' and '${Table.Style}' may be set; sfbatch keeps the others itself")
    if (key.startsWith("spark.sql.")) badOption(key, "names beginning with 'spark.sql.' are Spark's own")
    if (Set("external.table.purge", "auto.purge", "transactional")(key) && value.equalsIgnoreCase("true"))
      badOption(key, "an sfbatch table keeps its files and its own history; leave it out")
    if (saysHowFilesAreRead(key))
      badOption(
        key,
        s"only OPTIONS say how files are read, those of a text table: ${textOptions.keys.toSeq.sorted.mkString(", ")}"
      )
  }

  /** What Hive takes from a table's properties, before the SerDe's own: files written without would be misread. */
  def saysHowFilesAreRead(property: String): Boolean =
    property.matches(
      """serialization\..*|(field|escape|collection|colelction|mapkey|line|quote)\.delim|timestamp\.formats|skip\.(header|footer)\.line\.count"""
    )

  private def checkOptions(keys: Set[String], format: Format): Unit = {
    val known = createOptions ++ (if (format == Format.Text) textOptions.keys else Nil) ++ writeOptions
    val lowerKnown = known.map(lower).toSet + "path"
    keys.filterNot(ofFiles).find(key => !lowerKnown(key) || (key == "compression" && format == Format.Text)).foreach {
      key =>
        badOption(
          key,
          s"options of a ${format.name} table: ${(createOptions ++ (if (format == Format.Text) textOptions.keys.toSeq.sorted
                                                                    else Nil)).mkString(", ")}; of a write: ${writeOptions.mkString(", ")}"
        )
    }
  }

  /** Settings of the file writers: kept as table properties, so that every later write has them. */
  private def ofFiles(key: String): Boolean = key.startsWith("parquet.") || key.startsWith("orc.")

  private def formatOf(name: Option[String]): Format =
    name.fold[Format](Format.Parquet)(text =>
      Format
        .of(text)
        .getOrElse(badOption(s"format = '$text'", s"expected one of ${Format.all.map(_.name).mkString(", ")}"))
    )

  /** LazySimpleSerDe takes one byte, and reads digits as a byte's number. */
  private def serdeProperties(format: Format, options: Map[String, String]): Map[String, String] =
    if (format != Format.Text) Map.empty
    else {
      val serde = options.collect { case (key, value) if textOptions.contains(key) => textOptions(key) -> value }
      serde.foreach { case (key, value) =>
        if (
          key != "serialization.null.format" && !(value.length == 1 && value.head < 128 && !value.head.isDigit && !"\r\n"
            .contains(value))
        )
          badOption(s"$key = '$value'", "a delimiter is one ASCII character, no digit and no line end")
      }
      val delimiters = serde - "serialization.null.format"
      delimiters.groupBy(_._2).find(_._2.size > 1).foreach { case (value, same) =>
        badOption(same.keys.mkString(" and "), s"both are '$value'")
      }
      // Without an escape a value that holds the delimiter or a line end would come back as two.
      val escape = if (serde.values.exists(_ == "\\")) Map.empty[String, String] else Map("escape.delim" -> "\\")
      escape ++ serde ++ serde
        .get("field.delim")
        .map("serialization.format" -> _) + ("serialization.escape.crlf" -> "true")
    }

  private def lower(text: String): String = text.toLowerCase(Locale.ROOT)
  private def unsupported(detail: String): Nothing = throw new SfBatchException("SFBATCH_UNSUPPORTED", detail)
  private def badColumn(title: String, name: String, why: String): Nothing =
    throw new SfBatchException("SFBATCH_BAD_COLUMN", s"$title: column '$name' $why.")
  private def badOption(option: String, why: String): Nothing =
    throw new SfBatchException("SFBATCH_BAD_OPTION", s"$option: $why.")
}
