package sfbatch

import org.apache.hadoop.fs.Path
import org.apache.spark.sql.Row
import org.apache.spark.sql.catalyst.analysis.TableAlreadyExistsException
import scala.jdk.CollectionConverters._

class CreateTableSuite extends LakeSuite {
  private def hive(table: String) = {
    val Array(database, name) = table.split('.')
    LocalLake.metastore.getTable(database, name)
  }

  test("a created table is a plain external Hive table") {
    val t = newName()
    sql(
      s"CREATE TABLE $t (id BIGINT, Name STRING COMMENT 'who', price DECIMAL(10,2), date STRING) USING sfbatch PARTITIONED BY (date) COMMENT 'flights'"
    )
    val table = hive(t)
    assertEquals(table.getTableType, "EXTERNAL_TABLE")
    assertEquals(table.getSd.getSerdeInfo.getSerializationLib, Format.Parquet.storage.serde)
    assertEquals(
      table.getSd.getCols.asScala.map(c => c.getName -> c.getType).toSeq,
      Seq("id" -> "bigint", "name" -> "string", "price" -> "decimal(10,2)")
    )
    assertEquals(table.getPartitionKeys.asScala.map(c => c.getName -> c.getType).toSeq, Seq("date" -> "string"))
    val parameters = table.getParameters.asScala
    assertEquals(
      parameters.keys
        .filter(k => k.startsWith("spark.") || Set("numRows", "totalSize", "numFiles", "rawDataSize")(k))
        .toSeq,
      Nil
    )
    assertEquals(parameters.get("external.table.purge"), Some("false"))
    assertEquals(parameters.get("comment"), Some("flights"))
    assertEquals(seen(t), Set.empty[Row])
    assertEquals(stock.table(t).schema("name").getComment(), Some("who"))
  }

  test("format, style and text delimiters come from options or table properties") {
    val orc, text, tab = newName()
    sql(
      s"CREATE TABLE $orc (a INT, p INT) USING sfbatch OPTIONS (format 'ORC') PARTITIONED BY (p) TBLPROPERTIES ('sfbatch.partition-style' = 'hive', team = 'x')"
    )
    assertEquals(hive(orc).getSd.getSerdeInfo.getSerializationLib, Format.Orc.storage.serde)
    assertEquals(
      parameters(orc).filter { case (k, _) => Set("sfbatch.format", "sfbatch.partition-style", "team")(k) },
      Map("sfbatch.format" -> "orc", "sfbatch.partition-style" -> "hive", "team" -> "x")
    )
    sql(s"CREATE TABLE $text (a INT, b STRING) USING sfbatch TBLPROPERTIES ('sfbatch.format' = 'text')")
    assertEquals(hive(text).getSd.getSerdeInfo.getParameters.get("escape.delim"), "\\")
    sql(s"CREATE TABLE $tab (a INT, b STRING) USING sfbatch OPTIONS (format 'text', delimiter '\\t', nullValue 'NULL')")
    val serde = hive(tab).getSd.getSerdeInfo.getParameters.asScala
    assertEquals(serde.get("field.delim"), Some("\t"))
    assertEquals(serde.get("serialization.format"), Some("\t"))
    assertEquals(serde.get("serialization.null.format"), Some("NULL"))
  }

  test("text keeps delimiters, line ends, backslashes, quotes and nulls that are values") {
    val values = Seq("a,b", "x\ny\r\nz", "back\\slash\\", "\"q\"", "NULL", "", null, "\u0001", "\\N", "ü 日")
    Seq("", ", delimiter ',', nullValue 'NIL'").foreach { more =>
      val t = newName()
      sql(
        s"CREATE TABLE $t (i INT, s STRING, j INT, p STRING) USING sfbatch OPTIONS (format 'text'$more) PARTITIONED BY (p)"
      )
      val written = values.zipWithIndex.map { case (s, i) => (i, s, i, "p") }
      spark.createDataFrame(written).toDF("i", "s", "j", "p").write.insertInto(t)
      assertEquals(seen(t), written.map { case (i, s, j, p) => Row(i, s, j, p) }.toSet)
    }
  }

  test("LOCATION is kept, a relative one lies in the database") {
    val absolute, relative = newName()
    val place = LocalLake.home.resolve("elsewhere").toString
    sql(s"CREATE TABLE $absolute (a INT, p INT) USING sfbatch PARTITIONED BY (p) LOCATION '$place'")
    assertEquals(new Path(hive(absolute).getSd.getLocation).toUri.getPath, place)
    sql(s"CREATE TABLE $relative (a INT, p INT) USING sfbatch PARTITIONED BY (p) LOCATION 'deep/er'")
    assert(hive(relative).getSd.getLocation.endsWith(s"$db.db/deep/er"), hive(relative).getSd.getLocation)
  }

  test("partition columns may be declared with their types") {
    val t = newName()
    sql(s"CREATE TABLE $t (a INT) USING sfbatch PARTITIONED BY (year INT, month INT)")
    assertEquals(hive(t).getPartitionKeys.asScala.map(_.getName).toSeq, Seq("year", "month"))
  }

  test("every type of Hive's is kept, char and varchar included") {
    val t = newName()
    val columns =
      "a BOOLEAN, b TINYINT, c SMALLINT, d INT, e BIGINT, f FLOAT, g DOUBLE, h DECIMAL(38,18), i STRING, j CHAR(3), k VARCHAR(5), l BINARY, " +
        "m DATE, n TIMESTAMP, o ARRAY<INT>, q MAP<STRING,DOUBLE>, r STRUCT<x:INT,y:ARRAY<STRING>>"
    sql(s"CREATE TABLE $t ($columns) USING sfbatch")
    assertEquals(
      hive(t).getSd.getCols.asScala.map(_.getType).toSeq,
      Seq(
        "boolean",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "float",
        "double",
        "decimal(38,18)",
        "string",
        "char(3)",
        "varchar(5)",
        "binary",
        "date",
        "timestamp",
        "array<int>",
        "map<string,double>",
        "struct<x:int,y:array<string>>"
      )
    )
  }

  test("an existing name is an error, or nothing with IF NOT EXISTS") {
    val t = newName()
    sql(s"CREATE TABLE $t (a INT) USING sfbatch")
    sql(s"CREATE TABLE IF NOT EXISTS $t (b INT) USING sfbatch")
    intercept[TableAlreadyExistsException](sql(s"CREATE TABLE $t (a INT) USING sfbatch"))
    assertEquals(stock.table(t).columns.toSeq, Seq("a"))
  }

  test("what a stock Hive reader could not read is refused, by name") {
    val t = newName()
    def create(rest: String) = sql(s"CREATE TABLE $t $rest")
    refused("SFBATCH_UNSUPPORTED", "bucketed")(create("(a INT) USING sfbatch CLUSTERED BY (a) INTO 4 BUCKETS"))
    refused("SFBATCH_UNSUPPORTED", "name the columns")(create("USING sfbatch"))
    refused("SFBATCH_UNSUPPORTED", "at least one column")(create("(a INT) USING sfbatch PARTITIONED BY (a)"))
    refused("SFBATCH_UNSUPPORTED", "NOT NULL", "'a'")(create("(a INT NOT NULL, b INT) USING sfbatch"))
    refused("SFBATCH_UNSUPPORTED", "generated")(create("(a INT, b INT GENERATED ALWAYS AS (a + 1)) USING sfbatch"))
    refused("SFBATCH_UNSUPPORTED", "DEFAULT")(create("(a INT DEFAULT 3) USING sfbatch"))
    refused("SFBATCH_BAD_COLUMN", "TIMESTAMP_NTZ", "'b'")(create("(a INT, b TIMESTAMP_NTZ) USING sfbatch"))
    refused("SFBATCH_BAD_COLUMN", "INTERVAL")(create("(a INT, b INTERVAL DAY TO SECOND) USING sfbatch"))
    refused("SFBATCH_BAD_COLUMN", "more than once")(
      spark.range(1).selectExpr("id", "id AS ID2").toDF("id", "ID").write.format("sfbatch").saveAsTable(t)
    )
    refused("SFBATCH_BAD_COLUMN", "','")(create("(`a,b` INT) USING sfbatch"))
    refused("SFBATCH_BAD_COLUMN", "partition column")(create("(a INT, b ARRAY<INT>) USING sfbatch PARTITIONED BY (b)"))
    refused("SFBATCH_BAD_COLUMN", "'c'", "a, b")(
      spark.range(1).toDF("a").selectExpr("a", "a AS b").write.format("sfbatch").partitionBy("c").saveAsTable(t)
    )
    refused("SFBATCH_BAD_OPTION", "avro", "parquet, orc, text")(create("(a INT) USING sfbatch OPTIONS (format 'avro')"))
    refused("SFBATCH_BAD_OPTION", "delimeter", "delimiter")(
      create("(a INT) USING sfbatch OPTIONS (format 'text', delimeter ',')")
    )
    refused("SFBATCH_BAD_OPTION", "delimiter")(create("(a INT) USING sfbatch OPTIONS (delimiter ',')"))
    refused("SFBATCH_BAD_OPTION", "one ASCII character")(
      create("(a INT) USING sfbatch OPTIONS (format 'text', delimiter '||')")
    )
    refused("SFBATCH_BAD_OPTION", "'hive'")(
      create("(a INT) USING sfbatch TBLPROPERTIES ('sfbatch.partition-style' = 'dates')")
    )
    refused("SFBATCH_BAD_OPTION", "sfbatch.table-id")(
      create("(a INT) USING sfbatch TBLPROPERTIES ('sfbatch.table-id' = 'x')")
    )
    Seq("serialization.null.format", "field.delim", "skip.header.line.count", "skip.footer.line.count").foreach {
      property =>
        refused("SFBATCH_BAD_OPTION", property, "OPTIONS", "nullvalue")(
          create(s"(a INT) USING sfbatch OPTIONS (format 'text') TBLPROPERTIES ('$property' = '|')")
        )
    }
    refused("SFBATCH_REFUSED", "INSERT OVERWRITE")(sql(s"CREATE OR REPLACE TABLE $t (a INT) USING sfbatch"))
    assert(!stock.catalog.tableExists(t))
  }

  test("a struct whose field names no reader could parse back is refused before anything is made") {
    val t = newName()
    Seq("user-agent", "a b", "a.b", "@type", "a:int,b", " a", "a/**/").foreach { name =>
      val frame = spark.range(1).selectExpr("id", s"array(named_struct('$name', 1)) AS s")
      refused("SFBATCH_BAD_COLUMN", "'s'", name, "letters, digits")(frame.write.format("sfbatch").save(t))
    }
    assert(!stock.catalog.tableExists(t))
    assert(!java.nio.file.Files.exists(java.nio.file.Paths.get(LocalLake.warehouse, s"$db.db", t.split('.').last)))
    sql(s"CREATE TABLE $t (s STRUCT<Aa:INT,`1a`:INT,`select`:STRING,_x:CHAR(3)>) USING sfbatch")
    assertEquals(stock.table(t).count(), 0L)
    refused("SFBATCH_BAD_COLUMN", "'u'")(sql(s"ALTER TABLE $t ADD COLUMNS (u STRUCT<`user-agent`:STRING>)"))
  }

  test("other providers' tables are created by Spark as ever") {
    val parquet, hiveTable = newName()
    sql(s"CREATE TABLE $parquet (a INT) USING parquet")
    sql(s"CREATE TABLE $hiveTable (a INT) STORED AS ORC")
    assertEquals(parameters(parquet).keys.filter(_.startsWith("sfbatch")).toSeq, Nil)
    assertEquals(parameters(parquet).get("spark.sql.sources.provider"), Some("parquet"))
    assertEquals(parameters(hiveTable).keys.filter(_.startsWith("sfbatch")).toSeq, Nil)
  }
}
