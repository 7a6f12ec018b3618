package sfbatch

import java.nio.file.{Files, Paths}
import org.apache.hadoop.fs.Path
import org.apache.spark.sql.{DataFrame, Row}
import org.apache.spark.sql.functions._
import scala.concurrent.{Await, ExecutionContext, Future}
import scala.concurrent.duration.Duration
import scala.jdk.CollectionConverters._

class WriteEdgesSuite extends LakeSuite {
  private lazy val session = spark
  import session.implicits._

  private def root(table: String): String = new Path(parameters(table)("sfbatch.root")).toUri.getPath
  private def files(table: String): Seq[java.nio.file.Path] = {
    val base = Paths.get(root(table))
    val walk = Files.walk(base)
    try
      walk.iterator.asScala
        .filter(Files.isRegularFile(_))
        .map(base.relativize(_))
        .filterNot(p => p.startsWith("_sfbatch") || p.getFileName.toString.startsWith("."))
        .toList
    finally walk.close()
  }
  private def append(frame: DataFrame, table: String): Unit = frame.write.format("sfbatch").mode("append").save(table)

  private val nasty: Seq[String] = Seq(
    "a/b",
    "100%",
    "#1",
    "12:30",
    "?",
    "*",
    "'single'",
    "\"double\"",
    " space ",
    "ünïcode 漢字 🙂",
    ".",
    "..",
    "...",
    "_sfbatch",
    "_temporary",
    ".hidden",
    "-",
    "a=b",
    "a\\b",
    "{x}",
    "[x]",
    "x^y",
    "tab\there",
    "line\nbreak",
    "null",
    "%2E%2E",
    "/",
    "//",
    "../../etc",
    "C:\\",
    "a;b",
    "a,b",
    "\u007f",
    "~",
    "é",
    "e\u0301",
    "20161002002334"
  )

  for (style <- Seq("value", "hive"))
    test(s"every partition value stays under the table's root and is read back (style $style)") {
      val random = new scala.util.Random(1)
      val alphabet = nasty.mkString.distinct
      val generated = Seq
        .fill(15)(Seq.fill(1 + random.nextInt(12))(alphabet(random.nextInt(alphabet.length))).mkString)
        .filterNot(_.exists(_.isSurrogate))
      val values = (nasty ++ generated).distinct
      val table = newName()
      sql(
        s"CREATE TABLE $table (n INT, p STRING) USING sfbatch OPTIONS ('partition-style' '$style') PARTITIONED BY (p)"
      )
      append((values.zipWithIndex.map(_.swap) ++ Seq(-1 -> null, -2 -> "")).toDF("n", "p"), table)
      val expected = values.zipWithIndex.map { case (v, i) => Row(i, v) }.toSet ++ Set(Row(-1, null), Row(-2, null))
      assertEquals(seen(table), expected)
      files(table).foreach { file =>
        assertEquals(file.getNameCount, 3, file.toString)
        assert(BatchId.isBatchId(file.getName(1).toString), file.toString)
        if (style == "value")
          assert(!file.getName(0).toString.startsWith("_") && !file.getName(0).toString.startsWith("."), file.toString)
      }
      append(Seq(7 -> "..").toDF("n", "p"), table)
      assertEquals(seen(table), expected + Row(7, ".."))
    }

  test("an append copies files as they are, by name") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch PARTITIONED BY (p)")
    append(Seq(1 -> 1).toDF("n", "p"), table)
    val first = files(table).map(_.getFileName.toString)
    append(Seq(2 -> 1).toDF("n", "p"), table)
    assertEquals(files(table).count(_.getFileName.toString == first.head), 2)
    sql(s"ALTER TABLE $table ADD COLUMNS (m INT)")
    sql(s"INSERT INTO $table VALUES (3, 3, 1)")
    assertEquals(files(table).count(_.getFileName.toString == first.head), 3)
  }

  test("an append to a batch that lost files is refused, and publishes nothing") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch PARTITIONED BY (p)")
    append(Seq(1 -> 1).toDF("n", "p"), table)
    val lost = Paths.get(root(table)).resolve(files(table).head)
    Files.delete(lost)
    refused("SFBATCH_BATCH_GONE", "0 files", "1 files")(append(Seq(3 -> 1).toDF("n", "p"), table))
    assertEquals(sql(s"CALL sfbatch.history('$table')").collect().map(_.getAs[Long]("version")).max, 2L)
  }

  test("an append rewrites a partition as readers see it: by name, where its columns or SerDe settings differ") {
    val dates = "d DATE, t TIMESTAMP, m DECIMAL(9,2)"
    val more = "DATE'2016-10-01', TIMESTAMP'2016-10-01 12:30:00', 1.5"
    for (format <- Seq("PARQUET", "ORC"); partitioned <- Seq(true, false)) {
      val table = newName()
      val Array(database, name) = table.split('.')
      val (columns, values) = if (partitioned) (" PARTITIONED BY (p INT)", ", 1") else ("", "")
      stock.sql(s"CREATE TABLE $table ($dates, a INT, b INT, c INT)$columns STORED AS $format")
      stock.sql(s"INSERT INTO $table VALUES ($more, 1, 2, 3$values), ($more, 4, 5, 6$values)")
      if (partitioned) stock.sql(s"ALTER TABLE $table PARTITION (p = 1) SET SERDEPROPERTIES ('other' = '1')")
      val hive = LocalLake.metastore.getTable(database, name)
      hive.getSd.setCols(hive.getSd.getCols.asScala.filter(_.getName != "b").asJava)
      hive.getParameters.keySet.removeIf(_.startsWith("spark.sql.sources.schema"))
      LocalLake.metastore.alter_table(database, name, hive)
      val before = seen(table)
      assertEquals(before.map(r => (r.getInt(3), r.getInt(4))), Set((1, 3), (4, 6)))
      sql(s"CALL sfbatch.adopt('$table')")
      sql(s"INSERT INTO $table VALUES ($more, 9, 9$values)")
      assertEquals(seen(table).filter(_.getInt(3) != 9), before)
      assertEquals(stock.table(table).count(), 3L)
    }
  }

  test("an append whose base holds directories with files is refused: not every reader sees those rows") {
    Seq("PARQUET", "ORC").foreach { format =>
      val table = newName()
      stock.sql(s"CREATE TABLE $table (n INT) PARTITIONED BY (p INT) STORED AS $format")
      stock.sql(s"INSERT INTO $table PARTITION (p = 1) VALUES (1)")
      stock.sql(s"INSERT INTO $table PARTITION (p = 2) VALUES (2)")
      val place = Paths.get(LocalLake.warehouse, s"$db.db", table.split('.').last)
      Files.move(place.resolve("p=2"), place.resolve("p=1/sub"))
      stock.sql(s"ALTER TABLE $table PARTITION (p = 2) SET LOCATION '$place/p=1/sub'")
      assertEquals(seen(table), Set(Row(1, 1), Row(2, 2)))
      sql(s"CALL sfbatch.adopt('$table')")
      refused("SFBATCH_CONFLICT", "p=1/sub", "INSERT OVERWRITE")(sql(s"INSERT INTO $table VALUES (3, 1)"))
      assertEquals(seen(table), Set(Row(1, 1), Row(2, 2)))
      sql(s"INSERT INTO $table VALUES (3, 2)")
      sql(s"INSERT OVERWRITE $table VALUES (4, 1)")
      Files.createDirectories(place.resolve("1").toFile.listFiles.head.toPath.resolve("left/empty"))
      sql(s"INSERT INTO $table VALUES (5, 1)")
      assertEquals(seen(table), Set(Row(2, 2), Row(3, 2), Row(4, 1), Row(5, 1)))
    }
  }

  test("no partition is shown by the empty directory while that is not empty") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch PARTITIONED BY (p)")
    append(Seq(1 -> 1, 2 -> 2).toDF("n", "p"), table)
    val empty = Files.createDirectories(Paths.get(root(table), "_sfbatch", "empty"))
    val stray = Files.copy(Paths.get(root(table)).resolve(files(table).head), empty.resolve("part-0.parquet"))
    refused("SFBATCH_PUBLISH_UNCLEAR", stray.toString, "recover")(sql(s"ALTER TABLE $table DROP PARTITION (p = 2)"))
    refused("SFBATCH_STORE_FAILED", stray.toString, "Move it")(append(Seq(3 -> 3).toDF("n", "p"), table))
    assertEquals(seen(table), Set(Row(1, 1), Row(2, 2)))
    Files.delete(stray)
    append(Seq(3 -> 3).toDF("n", "p"), table)
    assertEquals(seen(table), Set(Row(1, 1), Row(3, 3)))
  }

  test("a partition made by another tool above where its batches go is refused, by writes and rollbacks") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch OPTIONS ('partition-style' 'hive') PARTITIONED BY (p)")
    append(Seq(1 -> 1).toDF("n", "p"), table)
    stock.sql(s"INSERT INTO $table PARTITION (p = 2) VALUES (2)")
    refused("SFBATCH_CONFLICT", "DROP PARTITION")(append(Seq(3 -> 2).toDF("n", "p"), table))
    sql(s"ALTER TABLE $table DROP PARTITION (p = 2)")
    append(Seq(4 -> 2).toDF("n", "p"), table)
    assertEquals(seen(table), Set(Row(1, 1), Row(4, 2)))
    refused("SFBATCH_CONFLICT", "batches of sfbatch")(sql(s"CALL sfbatch.rollback('$table', '3', 'p=2')"))
  }

  test("an append to a partition of another format rewrites its rows") {
    val table = newName()
    val Array(database, name) = table.split('.')
    stock.sql(s"CREATE TABLE $table (n INT, s STRING) PARTITIONED BY (p INT) STORED AS TEXTFILE")
    stock.sql(s"INSERT INTO $table PARTITION (p = 1) VALUES (1, 'one'), (2, 'two')")
    val hive = LocalLake.metastore.getTable(database, name)
    hive.getSd.setInputFormat(Format.Parquet.storage.inputFormat)
    hive.getSd.setOutputFormat(Format.Parquet.storage.outputFormat)
    hive.getSd.getSerdeInfo.setSerializationLib(Format.Parquet.storage.serde)
    LocalLake.metastore.alter_table(database, name, hive)
    sql(s"CALL sfbatch.adopt('$table')")
    append(Seq((3, "three", 1), (4, "four", 2)).toDF("n", "s", "p"), table)
    assertEquals(seen(table), Set(Row(1, "one", 1), Row(2, "two", 1), Row(3, "three", 1), Row(4, "four", 2)))
  }

  test(
    "appends at once lose nothing, and none copies more than three times; to a partition, to an unpartitioned table"
  ) {
    assume(OnOneSpark.here, "slow; runs on Spark 3.5 only")
    for (partitioned <- Seq(true, false)) {
      val table = newName()
      sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch ${if (partitioned) "PARTITIONED BY (p)" else ""}")
      atOnce(8)(i => append(Seq(i -> 1).toDF("n", "p"), table))
      assertEquals(seen(table).map(_.getInt(0)), (0 until 8).toSet)
      val batches = Files.list(Paths.get(root(table), "_sfbatch", "claims")).count
      assert(batches <= 3 * 8, batches)
    }
  }

  test("two jobs on one root, new directories in common: both keep every file") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, y INT, d INT) USING sfbatch PARTITIONED BY (y, d)")
    atOnce(3) { i =>
      val slow = udf { n: Int => Thread.sleep(100L * i); n }
      append(
        spark
          .range(0, 40, 1, 2)
          .select(
            slow(col("id").cast("int")).as("n"),
            lit(2016).as("y"),
            (lit(100 * i) + col("id") % 20).cast("int").as("d")
          ),
        table
      )
    }
    assertEquals(stock.table(table).count(), 120L)
    assertEquals(Files.list(Paths.get(root(table), "_temporary")).count, 0L)
  }

  test("foreachBatch is exactly once by txn") {
    val table = newName()
    val input = Files.createTempDirectory("stream").toString
    val write = (batch: DataFrame, id: Long) =>
      (1 to 2).foreach { _ => // a batch that is run again
        batch.write.format("sfbatch").mode("append").option("txnAppId", "stream").option("txnVersion", id).save(table)
      }
    sql(s"CREATE TABLE $table (n INT) USING sfbatch")
    for (i <- 1 to 2) {
      Seq(i).toDF("n").write.mode("append").parquet(input)
      spark.readStream
        .schema("n INT")
        .parquet(input)
        .writeStream
        .option("checkpointLocation", input + "/_checkpoint")
        .trigger(org.apache.spark.sql.streaming.Trigger.AvailableNow())
        .foreachBatch(write)
        .start()
        .awaitTermination()
    }
    assertEquals(stock.table(table).collect().toSeq.map(_.getInt(0)).sorted, Seq(1, 2))
  }

  test("text keeps delimiters, line ends, nulls and empty strings, with a delimiter of one's own") {
    val table = newName()
    val values = Seq("a,b", "a\\b", "a|b", "line\nend", "cr\rhere", "", null, "\\N", "tab\t", "\u0001")
    values.zipWithIndex
      .toDF("s", "n")
      .write
      .format("sfbatch")
      .option("format", "text")
      .option("delimiter", "|")
      .save(table)
    assertEquals(seen(table).map(r => r.getInt(1) -> r.getString(0)), values.zipWithIndex.map(_.swap).toSet)
  }

  test("written files are what the options ask for") {
    val table = newName()
    spark
      .range(0, 10, 1, 1)
      .selectExpr("cast(id as int) n", "1 p")
      .write
      .format("sfbatch")
      .partitionBy("p")
      .option("compression", "gzip")
      .option("maxRecordsPerFile", 4)
      .save(table)
    assertEquals(files(table).map(_.toString).filter(_.endsWith(".gz.parquet")).size, 3)
    sql(s"INSERT OVERWRITE $table VALUES (1, 1)")
    assertEquals(files(table).map(_.toString).filter(_.endsWith(".gz.parquet")).size, 4)
    spark
      .range(3)
      .selectExpr("cast(id as int) n", "1 p")
      .coalesce(1)
      .write
      .format("sfbatch")
      .mode("overwrite")
      .option("compression", "zstd")
      .save(table)
    assertEquals(files(table).map(_.toString).count(_.endsWith(".zstd.parquet")), 1)
  }

  test("EXPLAIN writes nothing; a plan that reads another table is planned by Spark as ever") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch PARTITIONED BY (p)")
    assert(sql(s"EXPLAIN INSERT OVERWRITE $table SELECT 1, 2").head().getString(0).contains("BatchWriteCommand"))
    assertEquals(files(table), Nil)
    sql(s"CREATE TABLE $db.other (n INT) USING parquet")
    assert(
      sql(s"EXPLAIN INSERT INTO $db.other SELECT 1").head().getString(0).contains("InsertIntoHadoopFsRelationCommand")
    )
  }

  private def atOnce(writers: Int)(write: Int => Unit): Unit = {
    val pool = java.util.concurrent.Executors.newFixedThreadPool(writers)
    implicit val context: ExecutionContext = ExecutionContext.fromExecutor(pool)
    try Await.result(Future.sequence((0 until writers).map(i => Future(write(i)))), Duration(500, "s"))
    finally pool.shutdown()
  }
}
