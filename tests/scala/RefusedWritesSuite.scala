package sfbatch

import org.apache.spark.sql.Row

/** Bad input: a clear error, before anything is published. */
class RefusedWritesSuite extends DayTables {
  private lazy val session = spark
  import session.implicits._

  test("wrong columns are refused by name before anything is written") {
    val table = create()
    refused("SFBATCH_COLUMN_MISMATCH", "missing: 'n'", "not in the table: 'm'")(
      save(Seq((1, "x")).toDF("m", "date"), table, "append")
    )
    refused("SFBATCH_COLUMN_MISMATCH", "there twice: 'N', 'n'")(
      save(Seq((1, 2, "x")).toDF("N", "n", "date"), table, "append")
    )
    refused("SFBATCH_COLUMN_MISMATCH", "`n`")(save(Seq(("one", "x")).toDF("n", "date"), table, "append"))
    refused("SFBATCH_COLUMN_MISMATCH")(sql(s"INSERT INTO $table VALUES (1, 'x', 2)"))
    refused("SFBATCH_BAD_OPTION", "'repalceWhere'", "replaceWhere")(
      save(days(), table, "overwrite", "repalceWhere" -> "x")
    )
    refused("SFBATCH_BAD_OPTION", "txnVersion")(save(days(), table, "overwrite", "txnAppId" -> "x"))
    refused("SFBATCH_NOT_OURS", "sfbatch.adopt") {
      stock.sql(s"CREATE TABLE $db.plain (n INT) STORED AS PARQUET")
      save(Seq(1).toDF("n"), s"$db.plain", "append")
    }
    assertEquals(batches(table), Nil)
  }

  test("expectedBatchId refuses a table that moved on") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT) USING sfbatch")
    sql(s"INSERT INTO $table VALUES (1)")
    val seenBatch = parameters(table)("sfbatch.batch-id")
    save(Seq(2).toDF("n"), table, "overwrite", "expectedBatchId" -> seenBatch)
    intercept[SfBatchException](save(Seq(3).toDF("n"), table, "overwrite", "expectedBatchId" -> seenBatch))
    assertEquals(seen(table), Set(Row(2)))
  }

  test("an append beyond the copy limit is refused") {
    val table = create()
    sql(s"INSERT INTO $table VALUES (1, '20161001')")
    refused("SFBATCH_APPEND_TOO_LARGE", "spark.sfbatch.append.maxCopyBytes")(
      save(days("20161001" -> 1), table, "append", "append.maxCopyBytes" -> "10b")
    )
    assertEquals(seen(table), Set(Row(1, "20161001")))
  }

  test("a static partition value that is none of its type is refused, never the partition of NULL") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch PARTITIONED BY (p)")
    sql(s"INSERT INTO $table VALUES (1, NULL), (2, 2)")
    Seq("ANSI", "LEGACY").foreach { policy =>
      spark.conf.set("spark.sql.storeAssignmentPolicy", policy)
      try
        for (query <- Seq("SELECT 1", "SELECT 1 WHERE false"))
          refused("SFBATCH_BAD_PARTITION_VALUE", "'abc'", "INT", "'p'") {
            sql(s"INSERT OVERWRITE $table PARTITION (P = 'abc') $query")
          }
      finally spark.conf.unset("spark.sql.storeAssignmentPolicy")
    }
    assertEquals(seen(table), Set(Row(1, null), Row(2, 2)))
    sql(s"INSERT OVERWRITE $table PARTITION (p = NULL) SELECT 1 WHERE false")
    assertEquals(seen(table), Set(Row(2, 2)))
  }

  test("a session setting that nobody would look at is refused") {
    val table = create()
    Seq("spark.sfbatch.expectedbatchid", "spark.sfbatch.compression", "Spark.sfbatch.txnAppId").foreach { key =>
      spark.conf.set(key, "20000101000000")
      try
        refused("SFBATCH_BAD_OPTION", key, "spark.sfbatch.expectedBatchId")(sql(s"INSERT INTO $table VALUES (1, 'x')"))
      finally spark.conf.unset(key)
    }
    assertEquals(seen(table), Set.empty[Row])
  }

  test("a session that takes TIMESTAMP for TIMESTAMP_NTZ cannot write what others could not read") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, ts TIMESTAMP) USING sfbatch")
    spark.conf.set("spark.sql.timestampType", "TIMESTAMP_NTZ")
    try
      refused("SFBATCH_BAD_COLUMN", "'ts'", "RESET spark.sql.timestampType") {
        sql(s"INSERT INTO $table VALUES (1, timestamp'2020-01-01 00:00:00')")
      }
    finally spark.conf.unset("spark.sql.timestampType")
    sql(s"INSERT INTO $table VALUES (2, timestamp'2020-01-01 00:00:00')")
    assertEquals(seen(table).map(_.getInt(0)), Set(2))
  }

  test("a name, a codec or a way of writing that there is not is refused with a code and the mend") {
    val table = create()
    val rows = days("20161001" -> 1)
    refused("SFBATCH_UNKNOWN_DATABASE", "CREATE DATABASE nowhere")(save(rows, "nowhere.t", "append"))
    refused("SFBATCH_UNKNOWN_TABLE", "no table default.nothing")(spark.read.format("sfbatch").load("default.nothing"))
    refused("SFBATCH_BAD_OPTION", "sfbatch.history")(
      spark.read.format("sfbatch").option("versionAsOf", 1).load(table)
    )
    for (format <- Seq("parquet", "orc")) {
      refused("SFBATCH_BAD_OPTION", "compression", "brotlix")(
        save(rows, s"default.codec_$format", "append", "format" -> format, "compression" -> "brotlix")
      )
      refused("SFBATCH_BAD_OPTION", "compression", "brotlix")(
        sql(
          s"CREATE TABLE default.codec_$format (n INT) USING sfbatch OPTIONS (format '$format', compression 'brotlix')"
        )
      )
      assert(!spark.catalog.tableExists(s"default.codec_$format"))
    }
    refused("SFBATCH_BAD_OPTION", "compression", "brotlix")(
      save(rows, table, "append", "compression" -> "brotlix")
    )
    refused("SFBATCH_STORE_UNSUPPORTED", "hadoop-aws")(
      sql("CREATE TABLE default.away (n INT) USING sfbatch LOCATION 's3a://x/y'")
    )
    refused("SFBATCH_UNKNOWN_DATABASE", "nowhere")(sql("CALL sfbatch.history('nowhere.t')"))
    sql("CREATE TABLE IF NOT EXISTS default.of_spark (n INT, date STRING) USING parquet")
    refused("SFBATCH_NOT_OURS", "AS SELECT")(save(rows, "default.of_spark", "append"))
    refused("SFBATCH_NOT_OURS", "AS SELECT")(sql("CALL sfbatch.history('default.of_spark')"))
    sql(s"CREATE OR REPLACE VIEW default.seen_by_name AS SELECT * FROM $table")
    for (
      act <- Seq[() => Any](
        () => save(rows, "default.seen_by_name", "append"),
        () => sql("CALL sfbatch.history(table => 'default.seen_by_name')")
      )
    ) refused("SFBATCH_NOT_OURS", "is a view")(act())
    refused("SFBATCH_UNSUPPORTED", "foreachBatch")(
      spark.readStream
        .format("rate")
        .load()
        .writeStream
        .format("sfbatch")
        .option("checkpointLocation", s"${root(table)}_checkpoint")
        .start()
    )
    refused("SFBATCH_REFUSED", "bucketBy")(rows.write.mode("append").bucketBy(2, "n").saveAsTable(table))
    val (code, message) = refusal(save(rows, table, "overwrite", "replaceWhere" -> "n = 1"))
    assertEquals(code, "SFBATCH_BAD_OPTION")
    assert(!message.contains("__sfbatch"), message)
    assertEquals(LocalLake.directories(root(table)).size, 0)
  }
}
