package sfbatch

import org.apache.hadoop.fs.Path
import org.apache.spark.sql.Row
import org.apache.spark.sql.functions._

class WriteSuite extends DayTables {
  private lazy val session = spark
  import session.implicits._

  for (format <- Seq("parquet", "orc", "text")) {
    test(s"INSERT OVERWRITE touches only the partitions in the data ($format)") {
      val table = create(format)
      sql(s"INSERT INTO $table VALUES (1, '20161001'), (2, '20161002')")
      sql(s"INSERT OVERWRITE $table VALUES (3, '20161002')")
      assertEquals(seen(table), Set(Row(1, "20161001"), Row(3, "20161002")))
      assertEquals(batches(table), Seq("20161001/B", "20161002/B", "20161002/B"))
    }

    test(s"an append keeps the rows that were there ($format)") {
      val table = create(format)
      sql(s"INSERT INTO $table VALUES (1, '20161001')")
      sql(s"INSERT INTO $table PARTITION (date = '20161001') VALUES (2)")
      save(days("20161001" -> 3, "20161003" -> 4), table, "append")
      assertEquals(seen(table), Set(Row(1, "20161001"), Row(2, "20161001"), Row(3, "20161001"), Row(4, "20161003")))
    }
  }

  test("save creates the table when it is absent, by name, and appends by name") {
    val table = newName()
    days("20161001" -> 1).write.format("sfbatch").partitionBy("date").save(table)
    save(days("20161001" -> 2).select("date", "n"), table, "append")
    save(days("20161005" -> 9), table, "ignore")
    assertEquals(seen(table), Set(Row(1, "20161001"), Row(2, "20161001")))
    refused("SFBATCH_TABLE_EXISTS")(save(days("20161001" -> 2), table, "errorifexists"))
    refused("SFBATCH_PARTITION_MISMATCH", "(date)", "(n)")(
      days("20161001" -> 2).write.format("sfbatch").mode("append").partitionBy("n").save(table)
    )
  }

  test("a load is the table's stock plan") {
    val table = create()
    sql(s"INSERT INTO $table VALUES (1, '20161001'), (2, '20161002')")
    val load = spark.read.format("sfbatch").load(table).where("date = '20161002'")
    assertEquals(rows(load), Set(Row(2, "20161002")))
    assertEquals(
      load.queryExecution.executedPlan.toString.replaceAll("#\\d+", ""),
      spark.table(table).where("date = '20161002'").queryExecution.executedPlan.toString.replaceAll("#\\d+", "")
    )
    assertEquals(rows(spark.read.format("sfbatch").option("table", table).load()), rows(load.sparkSession.table(table)))
  }

  test("insertInto and saveAsTable append") {
    val table = newName()
    days("20161001" -> 1).write.format("sfbatch").partitionBy("date").saveAsTable(table)
    days("20161001" -> 2).write.insertInto(table)
    days("20161001" -> 3).write.format("sfbatch").mode("append").partitionBy("date").saveAsTable(table)
    assertEquals(seen(table).map(_.getInt(0)), Set(1, 2, 3))
    days("20161001" -> 4).write.mode("overwrite").insertInto(table)
    assertEquals(seen(table).map(_.getInt(0)), Set(4))
    refused("SFBATCH_REFUSED", "saveAsTable")(
      days("20161001" -> 5).write.format("sfbatch").mode("overwrite").saveAsTable(table)
    )
    assertEquals(seen(table).map(_.getInt(0)), Set(4))
  }

  test("a declared partition without rows becomes empty, also when it was not there") {
    val table = create()
    sql(s"INSERT INTO $table VALUES (1, '20161001'), (2, '20161002')")
    sql(s"INSERT OVERWRITE $table PARTITION (date = '20161001') SELECT 1 WHERE false")
    sql(s"INSERT OVERWRITE $table PARTITION (date = '20161009') SELECT 1 WHERE false")
    assertEquals(seen(table), Set(Row(2, "20161002")))
    assertEquals(stock.sql(s"SHOW PARTITIONS $table").count(), 3L)
    assertEquals(batches(table).count(_.startsWith("20161009")), 1)
  }

  test("replaceWhere empties what it names, and refuses a row outside it") {
    val table = create()
    sql(s"INSERT INTO $table VALUES (1, '20161001'), (2, '20161002'), (3, '20161003')")
    save(days("20161002" -> 20), table, "overwrite", "replaceWhere" -> "date >= '20161002'")
    assertEquals(seen(table), Set(Row(1, "20161001"), Row(20, "20161002")))
    refused("SFBATCH_ROW_OUTSIDE_DECLARED", "date=20161001") {
      save(days("20161001" -> 5, "20161002" -> 6), table, "overwrite", "replaceWhere" -> "date >= '20161002'")
    }
    save(days(), table, "overwrite", "replaceWhere" -> "date = '20170101'")
    assertEquals(seen(table), Set(Row(1, "20161001"), Row(20, "20161002")))
    assertEquals(stock.sql(s"SHOW PARTITIONS $table").count(), 4L)
    refused("SFBATCH_BAD_OPTION", "date alone")(save(days(), table, "overwrite", "replaceWhere" -> "n = 1"))
    refused("SFBATCH_BAD_OPTION", "overwrite")(save(days(), table, "append", "replaceWhere" -> "date = '1'"))
  }

  test("replaceWhere on a table that is not there yet: a daily load's first day") {
    val table = newName()
    def first(mode: String, rows: (String, Int)*): Unit =
      days(rows: _*).write
        .format("sfbatch")
        .partitionBy("date")
        .mode(mode)
        .option("replaceWhere", "date = '1'")
        .save(table)
    for (mode <- Seq("append", "errorifexists", "ignore")) {
      refused("SFBATCH_BAD_OPTION", "overwrite")(first(mode, "1" -> 1))
      assert(!spark.catalog.tableExists(table))
    }
    first("overwrite", "1" -> 1)
    assertEquals(seen(table), Set(Row(1, "1")))
    assertEquals(sql(s"CALL sfbatch.history('$table')").select("version").as[Long].collect().toSet, Set(1L, 2L))
    val other = newName()
    refused("SFBATCH_ROW_OUTSIDE_DECLARED") {
      days("2" -> 1).write
        .format("sfbatch")
        .mode("overwrite")
        .option("replaceWhere", "date = '1'")
        .partitionBy("date")
        .save(other)
    }
    assert(!spark.catalog.tableExists(other))
  }

  test("replaceWhere with a date that is none is refused before anything is written") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, d DATE) USING sfbatch PARTITIONED BY (d)")
    sql(s"INSERT INTO $table VALUES (1, DATE '2016-10-31')")
    val rows = sql("SELECT 2 AS n, DATE '2016-10-31' AS d")
    val before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", "true")
    try
      refused("SFBATCH_BAD_OPTION", "'20161031'", "DATE") {
        save(rows, table, "overwrite", "replaceWhere" -> "d = '20161031'")
      }
    finally spark.conf.set("spark.sql.ansi.enabled", before)
    assertEquals(batches(table), Seq("2016-10-31/B"))
    refused("SFBATCH_BAD_OPTION", "INVALID_INPUT") {
      try {
        spark.conf.set("spark.sql.ansi.enabled", "true");
        save(rows, table, "overwrite", "replaceWhere" -> "CAST(d AS STRING) = 5")
      } finally spark.conf.set("spark.sql.ansi.enabled", before)
    }
    save(rows, table, "overwrite", "replaceWhere" -> "d >= date_sub(current_date(), 100000)")
    assertEquals(seen(table), Set(Row(2, java.sql.Date.valueOf("2016-10-31"))))
  }

  test("the table that is written may be read by the same statement") {
    val table = create()
    sql(s"INSERT INTO $table VALUES (1, '20161001'), (2, '20161002')")
    sql(s"INSERT OVERWRITE $table SELECT n + 10, date FROM $table")
    sql(s"INSERT OVERWRITE $table PARTITION (date = '20161001') SELECT n + 100 FROM $table WHERE date = '20161001'")
    assertEquals(seen(table), Set(Row(111, "20161001"), Row(12, "20161002")))
  }

  test("two partition columns: static, dynamic and mixed; values of every type") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, y INT, d DATE) USING sfbatch PARTITIONED BY (y, d)")
    sql(s"INSERT INTO $table PARTITION (y = '02016', d) VALUES (1, DATE'2016-10-01'), (2, DATE'2016-10-02')")
    sql(s"INSERT OVERWRITE $table PARTITION (y = 2016, d) VALUES (3, DATE'2016-10-02')")
    sql(s"INSERT OVERWRITE $table PARTITION (y = 2016, d = DATE'2016-10-03') VALUES (4)")
    assertEquals(
      seen(table).map(r => (r.getInt(0), r.get(2).toString)),
      Set((1, "2016-10-01"), (3, "2016-10-02"), (4, "2016-10-03"))
    )
    assertEquals(batches(table).distinct, Seq("2016/2016-10-01/B", "2016/2016-10-02/B", "2016/2016-10-03/B"))

    val typed = newName()
    sql(
      s"""CREATE TABLE $typed USING sfbatch PARTITIONED BY (b, t, i, l, m, s, x, ts) AS SELECT 1 AS n, true AS b, 3Y AS t, 4 AS i, 5L AS l, 1.50BD AS m, 'x' AS s,
      CAST(2 AS SMALLINT) AS x, TIMESTAMP'2016-10-01 10:11:12' AS ts"""
    )
    assertEquals(
      rows(stock.table(typed)),
      rows(spark.sql("SELECT 1, true, 3Y, 4, 5L, 1.50BD, 'x', CAST(2 AS SMALLINT), TIMESTAMP'2016-10-01 10:11:12'"))
    )
  }

  test("an unpartitioned table: append, overwrite, overwrite with nothing") {
    for (format <- Seq("parquet", "orc", "text")) {
      val table = newName()
      sql(s"CREATE TABLE $table (n INT, s STRING) USING sfbatch OPTIONS (format '$format')")
      sql(s"INSERT INTO $table VALUES (1, 'a')")
      sql(s"INSERT INTO $table VALUES (2, 'b')")
      assertEquals(seen(table), Set(Row(1, "a"), Row(2, "b")))
      sql(s"INSERT OVERWRITE $table SELECT n + 1, s FROM $table")
      assertEquals(seen(table), Set(Row(2, "a"), Row(3, "b")))
      sql(s"INSERT OVERWRITE $table SELECT * FROM $table WHERE false")
      assertEquals(seen(table), Set.empty[Row])
    }
  }

  test("replaceWhere on two columns, one of them VARCHAR, and conditions of any kind") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, y INT, v VARCHAR(5)) USING sfbatch PARTITIONED BY (y, v)")
    sql(s"INSERT INTO $table VALUES (1, 2015, 'a'), (2, 2016, 'a'), (3, 2016, 'b')")
    val none = Seq.empty[(Int, Int, String)].toDF("n", "y", "v")
    save(none, table, "overwrite", "replaceWhere" -> "y = 2016 AND v = 'a'")
    assertEquals(seen(table).map(_.getInt(0)), Set(1, 3))
    save(none, table, "overwrite", "replaceWhere" -> "y IN (2015, 2017) OR v LIKE 'z%'")
    assertEquals(seen(table).map(_.getInt(0)), Set(3))
  }

  test("BY NAME and column lists: NULL for what is left out") {
    val table = newName()
    sql(s"CREATE TABLE $table (a INT, b STRING, p INT) USING sfbatch PARTITIONED BY (p)")
    sql(s"INSERT INTO $table BY NAME SELECT 7 AS p, 'x' AS b, 1 AS a")
    sql(s"INSERT INTO $table (p, a) VALUES (8, 2)")
    assertEquals(seen(table), Set(Row(1, "x", 7), Row(2, null, 8)))
  }

  test("a txn that was published is not published again, by option or by session setting") {
    val table = create()
    (1 to 2).foreach(_ => save(days("20161001" -> 1), table, "append", "txnAppId" -> "job", "txnVersion" -> "7"))
    spark.conf.set("spark.sfbatch.txnAppId", "job")
    spark.conf.set("spark.sfbatch.txnVersion", "8")
    try for (_ <- 1 to 2) sql(s"INSERT INTO $table VALUES (2, '20161001')")
    finally Seq("txnAppId", "txnVersion").foreach(o => spark.conf.unset(s"spark.sfbatch.$o"))
    assertEquals(stock.table(table).orderBy("n").collect().toSeq, Seq(Row(1, "20161001"), Row(2, "20161001")))
  }

  test("a task that fails leaves nothing behind, and an error of ours reaches the caller as itself") {
    val table = create()
    sql(s"INSERT INTO $table VALUES (1, '20161001')")
    val long = "x" * 300
    // Of two tasks the other, still running, may leave its empty directory.
    val one = days("20161001" -> 1, long -> 2).coalesce(1)
    refused("SFBATCH_BAD_PARTITION_VALUE", "'date'", "300")(save(one, table, "overwrite"))
    intercept[Exception](
      save(
        spark
          .range(0, 10, 1, numPartitions = 1)
          .select(expr("if(id = 7, raise_error('no'), 1)").cast("int").as("n"), lit("20161001").as("date")),
        table,
        "overwrite"
      )
    )
    assertEquals(seen(table), Set(Row(1, "20161001")))
    assertEquals(LocalLake.directories(root(table)).size, 2)
    assertEquals(LocalLake.directories(new Path(root(table), "_temporary")).size, 0)
  }

  test("columns added between writes") {
    for (format <- Seq("parquet", "orc", "text")) {
      val table = create(format)
      sql(s"INSERT INTO $table VALUES (1, '20161001'), (2, '20161002')")
      sql(s"ALTER TABLE $table ADD COLUMNS (extra STRING)")
      sql(s"INSERT INTO $table VALUES (3, 'e', '20161001')")
      assertEquals(
        seen(table),
        Set(Row(1, null, "20161001"), Row(3, "e", "20161001"), Row(2, null, "20161002")),
        format
      )
    }
  }

  test("the same session and a stock session that read before read what was written") {
    for (partitioned <- Seq(true, false)) {
      val table = newName()
      sql(s"CREATE TABLE $table (n INT, date STRING) USING sfbatch ${if (partitioned) "PARTITIONED BY (date)" else ""}")
      sql(s"INSERT INTO $table VALUES (1, '20161001')")
      val cached = spark.table(table).cache()
      assertEquals((cached.count(), stock.table(table).count()), (1L, 1L))
      sql(s"INSERT INTO $table VALUES (2, '20161001')")
      assertEquals((spark.table(table).count(), stock.table(table).count()), (2L, 2L))
      cached.unpersist()
    }
  }

  test("a CHAR partition value is padded alike where it is declared, written, dropped and asked for") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, c CHAR(5)) USING sfbatch PARTITIONED BY (c)")
    def partitions = stock.sql(s"SHOW PARTITIONS $table").count()
    sql(s"INSERT INTO $table VALUES (1, 'ab'), (2, 'x')")
    sql(s"INSERT OVERWRITE $table PARTITION (c = 'ab') SELECT 3")
    sql(s"INSERT INTO $table PARTITION (c = 'ab') SELECT 4")
    assertEquals(partitions -> seen(table).map(_.getInt(0)), 2L -> Set(2, 3, 4))
    save(Seq.empty[(Int, String)].toDF("n", "c"), table, "overwrite", "replaceWhere" -> "c = 'ab'")
    assertEquals(partitions -> seen(table).map(_.getInt(0)), 2L -> Set(2))
    sql(s"INSERT OVERWRITE $table PARTITION (c = 'x') SELECT 1 WHERE false")
    assertEquals(partitions -> seen(table).map(_.getInt(0)), 2L -> Set.empty[Int])
    assertEquals(sql(s"CALL sfbatch.history('$table', 'c=ab')").count(), 4L)
    sql(s"ALTER TABLE $table DROP PARTITION (c = 'ab')")
    assertEquals(partitions, 1L)
    refused("SFBATCH_BAD_PARTITION_VALUE", "'too long'", "CHAR(5)") {
      sql(s"INSERT OVERWRITE $table PARTITION (c = 'too long') SELECT 1")
    }
  }

  test("a cached frame that can no longer be planned does not make a published write look failed") {
    val table, other = newName()
    sql(s"CREATE TABLE $table (n INT) USING sfbatch")
    stock.sql(s"CREATE TABLE $other (n INT) PARTITIONED BY (p STRING) STORED AS TEXTFILE")
    stock.sql(s"INSERT INTO $other PARTITION (p = 'x') VALUES (1)")
    sql(s"SELECT t.n FROM $table t JOIN $other o ON t.n = o.n WHERE o.p = 'x'").cache().count()
    stock.sql(s"DROP TABLE $other")
    try {
      sql(s"INSERT INTO $table VALUES (1)")
      assertEquals(rows(spark.table(table)), Set(Row(1)))
    } finally spark.catalog.clearCache()
  }

  test("save and load mean the same table where a temporary view has its name") {
    val table = newName()
    val name = table.split('.').last
    sql(s"CREATE TABLE $table (id BIGINT) USING sfbatch")
    spark.range(100, 103).createOrReplaceTempView(name)
    sql(s"USE $db")
    try {
      save(spark.range(2).toDF("id"), name, "append")
      assertEquals(rows(spark.read.format("sfbatch").load(name)), Set(Row(0L), Row(1L)))
    } finally { sql("USE default"); spark.catalog.dropTempView(name) }
  }
}
