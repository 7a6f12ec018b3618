package sfbatch

import org.apache.spark.sql.Row

class GuardsSuite extends LakeSuite {
  private lazy val days: String = {
    val t = newName()
    sql(s"CREATE TABLE $t (id INT, year INT, month INT) USING sfbatch PARTITIONED BY (year, month)")
    sql(s"INSERT INTO $t VALUES (1, 2016, 1), (2, 2016, 2), (3, 2017, 1)")
    t
  }
  private lazy val whole: String = {
    val t = newName()
    sql(s"CREATE TABLE $t (id INT, name STRING) USING sfbatch")
    sql(s"INSERT INTO $t VALUES (1, 'a')")
    t
  }
  private def history(table: String): Seq[String] =
    sql(s"CALL sfbatch.history('$table')").select("operation").collect().map(_.getString(0)).toSeq

  test("statements that would break the pattern are refused, naming the alternative, and change nothing") {
    val before = (rows(stock.table(days)), rows(stock.table(whole)), parameters(days), parameters(whole))
    Seq(
      s"TRUNCATE TABLE $whole" -> "INSERT OVERWRITE",
      s"TRUNCATE TABLE $days" -> "DROP PARTITION",
      s"TRUNCATE TABLE $days PARTITION (year=2016)" -> "DROP PARTITION",
      s"LOAD DATA INPATH '/nowhere' INTO TABLE $whole" -> "INSERT INTO",
      s"MSCK REPAIR TABLE $days" -> "INSERT INTO",
      s"ALTER TABLE $days RECOVER PARTITIONS" -> "INSERT INTO",
      s"ALTER TABLE $days ADD PARTITION (year=2018, month=1)" -> "INSERT OVERWRITE",
      s"ALTER TABLE $days PARTITION (year=2016, month=1) SET LOCATION '/tmp/x'" -> "rollback",
      s"ALTER TABLE $whole SET LOCATION '/tmp/x'" -> "rollback",
      s"ALTER TABLE $days PARTITION (year=2016, month=1) RENAME TO PARTITION (year=2016, month=3)" -> "INSERT OVERWRITE",
      s"ALTER TABLE $days DROP PARTITION (year=2016) PURGE" -> "without PURGE",
      s"DROP TABLE $days PURGE" -> "DROP TABLE",
      s"ALTER TABLE $whole SET SERDEPROPERTIES ('a'='b')" -> "CREATE TABLE",
      s"ALTER TABLE $whole SET SERDE 'org.apache.hadoop.hive.ql.io.orc.OrcSerde'" -> "CREATE TABLE",
      s"ALTER TABLE $whole SET TBLPROPERTIES ('sfbatch.root'='x')" -> "sfbatch.root",
      s"ALTER TABLE $whole UNSET TBLPROPERTIES ('sfbatch.table-id')" -> "sfbatch.table-id",
      s"ALTER TABLE $whole SET TBLPROPERTIES ('field.delim'='|')" -> "OPTIONS",
      s"ALTER TABLE $whole SET TBLPROPERTIES ('skip.header.line.count'='1')" -> "OPTIONS",
      s"ANALYZE TABLE $whole COMPUTE STATISTICS" -> "every publish",
      s"ANALYZE TABLE $whole COMPUTE STATISTICS FOR ALL COLUMNS" -> "every publish",
      s"ANALYZE TABLE $days PARTITION (year=2016, month=1) COMPUTE STATISTICS" -> "every publish",
      s"INSERT OVERWRITE $days PARTITION (year=2016, month=1) IF NOT EXISTS SELECT 9" -> "expectedBatchId",
      s"DELETE FROM $whole WHERE id = 1" -> "INSERT OVERWRITE",
      s"UPDATE $whole SET id = 2" -> "INSERT OVERWRITE",
      s"MERGE INTO $whole t USING $days s ON t.id = s.id WHEN MATCHED THEN DELETE" -> "INSERT OVERWRITE",
      s"ALTER TABLE $whole RENAME COLUMN name TO n" -> "CREATE TABLE",
      s"ALTER TABLE $whole DROP COLUMN name" -> "CREATE TABLE",
      s"ALTER TABLE $whole REPLACE COLUMNS (x INT)" -> "CREATE TABLE",
      s"ALTER TABLE $whole ALTER COLUMN id TYPE BIGINT" -> "CREATE TABLE",
      s"CREATE OR REPLACE TABLE $whole (a INT) USING parquet" -> "INSERT OVERWRITE",
      s"REPLACE TABLE $whole USING parquet AS SELECT 1 AS a" -> "INSERT OVERWRITE",
      s"INSERT OVERWRITE DIRECTORY '${parameters(whole)("sfbatch.root")}/x' USING parquet SELECT 1" -> "another directory",
      s"CREATE TABLE ${newName()} USING orc LOCATION '${parameters(whole)("sfbatch.root")}/x' AS SELECT 1" -> "another directory",
      s"CREATE TABLE ${newName()} (id INT) USING orc TBLPROPERTIES ('sfbatch.table-id'='x')" -> "USING sfbatch",
      s"CREATE TABLE ${newName()} LIKE $days USING sfbatch" -> "PARTITIONED BY",
      s"CREATE TABLE ${newName()} LIKE $days TBLPROPERTIES ('sfbatch.table-id'='x')" -> "AS SELECT",
      s"DROP DATABASE $db CASCADE" -> "DROP TABLE"
    ).foreach { case (statement, instead) =>
      val (code, message) =
        try refusal(sql(statement))
        catch { case e: Throwable => fail(s"$statement: $e", e) }
      assertEquals(code, "SFBATCH_REFUSED", s"$statement: $message")
      assert(message.contains(instead), s"$statement: '$instead' is not in: $message")
    }
    val frame = spark.range(1).selectExpr("CAST(id AS INT) id", "'x' AS name")
    refused("SFBATCH_REFUSED", "insertInto")(frame.write.format("sfbatch").mode("overwrite").saveAsTable(whole))
    refused("SFBATCH_REFUSED", "insertInto")(frame.write.mode("overwrite").saveAsTable(whole))
    val inside = s"${parameters(days)("sfbatch.root")}/2016"
    refused("SFBATCH_REFUSED", "another directory")(frame.write.mode("append").parquet(inside))
    refused("SFBATCH_REFUSED", "another directory")(frame.write.mode("overwrite").orc(inside))
    refused("SFBATCH_REFUSED", "INSERT INTO")(spark.catalog.recoverPartitions(days))
    assertEquals((rows(stock.table(days)), rows(stock.table(whole)), parameters(days), parameters(whole)), before)
    assertEquals(history(whole), Seq("write", "create"))
  }

  test("saveAsTable of a frame read from our table still reaches other tables") {
    val other = newName()
    spark.table(whole).write.format("parquet").mode("overwrite").saveAsTable(other)
    spark.table(whole).write.format("parquet").mode("overwrite").saveAsTable(other)
    assertEquals(rows(spark.table(other)), Set(Row(1, "a")))
  }

  test("saveAsTable appends as a batch of its own whatever the session's formats, and refuses a format that is named") {
    val frame = spark.range(2, 3).selectExpr("CAST(id AS INT) id", "'x' AS p")
    Seq("", "PARTITIONED BY (p)").foreach { partitioned =>
      val t = newName()
      sql(s"CREATE TABLE $t (id INT, p STRING) USING sfbatch $partitioned")
      sql(s"INSERT INTO $t VALUES (1, 'x')")
      frame.write.format("hive").mode("append").saveAsTable(t)
      frame.write.mode("append").saveAsTable(t)
      frame.write.format("noop").mode("append").saveAsTable(t)
      assertEquals(stock.table(t).count(), 4L)
      assertEquals(history(t), Seq.fill(4)("write") :+ "create")
      Seq("csv", "org.apache.spark.sql.hive.execution.HiveFileFormat").foreach { other =>
        refused("SFBATCH_REFUSED", other, "insertInto")(frame.write.format(other).mode("append").saveAsTable(t))
      }
      assertEquals(stock.table(t).count(), 4L)
    }
  }

  test("no provider replaces a table of ours") {
    val frame = spark.range(1).selectExpr("CAST(id AS INT) id", "'x' AS name")
    refused("SFBATCH_REFUSED", "INSERT OVERWRITE")(frame.writeTo(whole).using("noop").createOrReplace())
    refused("SFBATCH_REFUSED", "INSERT OVERWRITE")(frame.writeTo(whole).using("noop").replace())
    refused("SFBATCH_REFUSED", "INSERT OVERWRITE")(frame.write.format("noop").mode("overwrite").saveAsTable(whole))
    assertEquals(seen(whole), Set(Row(1, "a")))
  }

  test("saveAsTable in our format leaves a stock table where it is") {
    Seq("STORED AS ORC", "USING parquet").foreach { kind =>
      val t = newName()
      stock.sql(s"CREATE TABLE $t (id BIGINT) $kind")
      stock.sql(s"INSERT INTO $t VALUES (7)")
      refused("SFBATCH_NOT_OURS", "adopt")(spark.range(2).write.format("sfbatch").mode("overwrite").saveAsTable(t))
      assertEquals(seen(t), Set(Row(7L)))
      spark.range(2).write.format("orc").mode("overwrite").saveAsTable(t)
      assertEquals(seen(t), Set(Row(0L), Row(1L)))
    }
  }

  test("an overwrite of a directory does not delete the tables in it; an adopted one counts too") {
    sql(s"CREATE DATABASE ${db}_above")
    val created, adopted = s"${db}_above.${newName().split('.').last}"
    sql(s"CREATE TABLE $created (id INT) USING sfbatch")
    sql(s"INSERT INTO $created VALUES (1)")
    val above = new org.apache.hadoop.fs.Path(parameters(created)("sfbatch.root")).getParent
    def refuses(path: String) = {
      refused("SFBATCH_REFUSED", "another directory")(sql(s"INSERT OVERWRITE DIRECTORY '$path' USING parquet SELECT 1"))
      refused("SFBATCH_REFUSED", "another directory")(spark.range(1).write.mode("overwrite").parquet(path))
    }
    refuses(above.toString)
    stock.sql(s"CREATE TABLE $adopted (id INT) STORED AS PARQUET LOCATION '${LocalLake.home}/adopted/here'")
    stock.sql(s"INSERT INTO $adopted VALUES (1)")
    sql(s"CALL sfbatch.adopt('$adopted')")
    refuses(s"${LocalLake.home}/adopted/here")
    refuses(s"${LocalLake.home}/adopted")
    assertEquals(seen(created) ++ seen(adopted), Set(Row(1)))
    spark.range(1).write.mode("overwrite").parquet(s"${LocalLake.home}/adopted-not/here")
  }

  test("a write into another table that lies among our files is refused") {
    val partition = stock.sql(s"DESCRIBE EXTENDED $days PARTITION (year = 2016, month = 1)")
    val batch = partition.where("col_name = 'Location'").head().getString(1)
    Seq("USING parquet", "USING orc PARTITIONED BY (p INT)", "STORED AS TEXTFILE").foreach { kind =>
      val bad = newName()
      stock.sql(
        s"CREATE${if (kind.startsWith("STORED")) " EXTERNAL" else ""} TABLE $bad (id INT) $kind LOCATION '$batch'"
      )
      val values = if (kind.contains("PARTITIONED")) "1, 1" else "1"
      refused("SFBATCH_REFUSED", "another directory")(sql(s"INSERT OVERWRITE $bad VALUES ($values)"))
      refused("SFBATCH_REFUSED", "another directory")(sql(s"INSERT INTO $bad VALUES ($values)"))
    }
    assertEquals(seen(days), Set(Row(1, 2016, 1), Row(2, 2016, 2), Row(3, 2017, 1)))
  }

  test("DROP PARTITION is one version and leaves the files") {
    val t = newName()
    sql(s"CREATE TABLE $t (id INT, year INT, month INT) USING sfbatch PARTITIONED BY (year, month)")
    sql(s"INSERT INTO $t VALUES (1, 2016, 1), (2, 2016, 2), (3, 2017, 1)")
    val root = new org.apache.hadoop.fs.Path(parameters(t)("sfbatch.root"))
    val directories = LocalLake.directories(root)
    sql(s"ALTER TABLE $t DROP PARTITION (year='2016', month='01')")
    assertEquals(seen(t), Set(Row(2, 2016, 2), Row(3, 2017, 1)))
    sql(s"ALTER TABLE $t DROP IF EXISTS PARTITION (year=2099), PARTITION (year=2016)")
    assertEquals(seen(t), Set(Row(3, 2017, 1)))
    sql(s"ALTER TABLE $t DROP IF EXISTS PARTITION (year=2016)")
    assertEquals(history(t).distinct, Seq("drop_partition", "write", "create"))
    assertEquals(LocalLake.directories(root), directories)
    refused("SFBATCH_UNKNOWN_PARTITION", "year=2016", "IF EXISTS")(sql(s"ALTER TABLE $t DROP PARTITION (year=2016)"))
    refused("SFBATCH_BAD_PARTITION", "'x'", "INT")(sql(s"ALTER TABLE $t DROP PARTITION (year='x')"))
  }

  test("DROP PARTITION takes the partitions it names and no other") {
    val text, decimal = newName()
    sql(s"CREATE TABLE $text (id INT, v STRING) USING sfbatch PARTITIONED BY (v)")
    sql(s"INSERT INTO $text VALUES (1, '1.5'), (2, '105'), (3, '1x5'), (4, 'a/b'), (5, '.'), (6, 'q')")
    sql(s"ALTER TABLE $text DROP PARTITION (v = '1.5'), PARTITION (v = 'a/b')")
    sql(s"ALTER TABLE $text DROP PARTITION (v = '.')")
    assertEquals(seen(text).map(_.getInt(0)), Set(2, 3, 6))
    refused("SFBATCH_UNKNOWN_PARTITION", "v=1.5")(sql(s"ALTER TABLE $text DROP PARTITION (v = '1.5')"))
    sql(s"CREATE TABLE $decimal (id INT, v DECIMAL(5,1)) USING sfbatch PARTITIONED BY (v)")
    sql(s"INSERT INTO $decimal VALUES (1, 1.5), (2, 105.0), (3, 115.5)")
    sql(s"ALTER TABLE $decimal DROP PARTITION (v = 1.5)")
    assertEquals(seen(decimal).map(_.getInt(0)), Set(2, 3))
  }

  test("ADD COLUMNS, comments, properties and RENAME keep rows, later writes and the plain table") {
    Seq("", " PARTITIONED BY (p)").foreach { partitioned =>
      val t = newName()
      sql(s"CREATE TABLE $t (a INT, p INT) USING sfbatch$partitioned")
      sql(s"INSERT INTO $t VALUES (1, 1)")
      sql(s"ALTER TABLE $t ADD COLUMNS (B STRING COMMENT 'more')")
      val (one, two) = if (partitioned.isEmpty) (Row(1, 1, null), Row(2, 2, "x")) else (Row(1, null, 1), Row(2, "x", 2))
      assertEquals(seen(t), Set(one))
      sql(s"INSERT INTO $t ${if (partitioned.isEmpty) "VALUES (2, 2, 'x')" else "VALUES (2, 'x', 2)"}")
      sql(s"ALTER TABLE $t ALTER COLUMN a COMMENT 'first'")
      sql(s"ALTER TABLE $t SET TBLPROPERTIES (team = 'x', other = 'y')")
      sql(s"ALTER TABLE $t UNSET TBLPROPERTIES (other)")
      sql(s"COMMENT ON TABLE $t IS 'two'")
      val renamed = newName()
      sql(s"ALTER TABLE $t RENAME TO $renamed")
      assertEquals(seen(renamed), Set(one, two))
      assertEquals(stock.table(renamed).schema("a").getComment(), Some("first"))
      val kept = parameters(renamed)
      assertEquals(kept.get("team") -> kept.get("other") -> kept.get("comment"), Some("x") -> None -> Some("two"))
      assertEquals(
        kept.keys.filter(k => k.startsWith("spark.sql.sources") || k.startsWith("spark.sql.statistics")).toSeq,
        Nil
      )
      if (partitioned.nonEmpty) assertEquals(kept.keys.filter(Set("numRows", "totalSize", "numFiles")).toSeq, Nil)
      sql(s"INSERT OVERWRITE $renamed ${if (partitioned.isEmpty) "VALUES (3, 2, 'z')" else "VALUES (3, 'z', 2)"}")
      assertEquals(seen(renamed), if (partitioned.isEmpty) Set(Row(3, 2, "z")) else Set(one, Row(3, "z", 2)))
      refused("SFBATCH_BAD_COLUMN", "'a'", "there already")(sql(s"ALTER TABLE $renamed ADD COLUMNS (A INT)"))
      refused("SFBATCH_BAD_COLUMN", "TIMESTAMP_NTZ")(sql(s"ALTER TABLE $renamed ADD COLUMNS (c TIMESTAMP_NTZ)"))
    }
  }

  test("DROP TABLE keeps the files, and an empty database can be dropped") {
    val t = newName()
    sql(s"CREATE TABLE $t (a INT) USING sfbatch")
    sql(s"INSERT INTO $t VALUES (1)")
    val root = new org.apache.hadoop.fs.Path(parameters(t)("sfbatch.root"))
    sql(s"DROP TABLE $t")
    assert(LocalLake.directories(root).nonEmpty)
    sql(s"CREATE DATABASE ${db}_empty")
    sql(s"CREATE TABLE ${db}_empty.p (a INT) USING parquet")
    sql(s"DROP DATABASE ${db}_empty CASCADE")
  }

  test("a table made anew lies beside the files of the one before, also when that second's place is taken") {
    val t = newName()
    sql(s"CREATE TABLE $t (a INT) USING sfbatch")
    sql(s"INSERT INTO $t VALUES (1)")
    val root = parameters(t)("sfbatch.root")
    sql(s"DROP TABLE $t")
    val now = java.time.Instant.now()
    val taken = (0L to 6L).map(s => s"${root}_${BatchId.at(now.plusSeconds(s))}")
    taken.foreach(place => sql(s"CREATE TABLE ${newName()} (a INT) USING sfbatch LOCATION '$place'"))
    sql(s"CREATE TABLE $t (a INT) USING sfbatch")
    sql(s"INSERT INTO $t VALUES (2)")
    assertEquals(seen(t), Set(Row(2)))
    val beside = parameters(t)("sfbatch.root")
    assert(beside.startsWith(s"${root}_") && !taken.contains(beside), beside)
  }

  test("the same statements on tables that are not ours do what Spark does") {
    val t = newName()
    sql(s"CREATE TABLE $t (a INT, p INT) USING parquet PARTITIONED BY (p)")
    sql(s"INSERT INTO $t VALUES (1, 1), (2, 2)")
    sql(s"ALTER TABLE $t ADD PARTITION (p=3)")
    sql(s"ALTER TABLE $t DROP PARTITION (p=2)")
    sql(s"ALTER TABLE $t ADD COLUMNS (b INT)")
    sql(s"ALTER TABLE $t SET TBLPROPERTIES (x = 'y')")
    sql(s"ANALYZE TABLE $t COMPUTE STATISTICS")
    sql(s"ANALYZE TABLES IN $db COMPUTE STATISTICS NOSCAN")
    sql(s"MSCK REPAIR TABLE $t")
    assertEquals(rows(spark.table(t)), Set(Row(1, null, 1)))
    spark.range(3).write.mode("overwrite").saveAsTable(t)
    sql(s"TRUNCATE TABLE $t")
    assertEquals(spark.table(t).count(), 0L)
    sql(s"DROP TABLE $t PURGE")
    sql(s"CREATE TABLE $t LIKE $whole")
    assertEquals(parameters(t).keys.filter(_.startsWith("sfbatch.")).toSeq, Nil)
    assertEquals(seen(t), Set.empty[Row])
    assertEquals(parameters(whole).keys.filter(k => k.startsWith("spark.sql.statistics")).toSeq, Nil)
  }

  test("a statement on a table asks the metastore a few times, not once for each rule") {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch PARTITIONED BY (p)")
    sql(s"INSERT INTO $table VALUES (1, 1)")
    val calls = org.apache.spark.metrics.source.HiveCatalogMetrics.METRIC_HIVE_CLIENT_CALLS
    for (
      (statement, most) <- Seq(
        s"INSERT OVERWRITE $table VALUES (2, 1)" -> 5,
        s"ALTER TABLE $table DROP PARTITION (p = 1)" -> 12,
        s"ALTER TABLE $table ADD COLUMNS (x INT)" -> 12
      )
    ) {
      val before = calls.getCount
      sql(statement)
      val made = calls.getCount - before
      assert(0 < made && made <= most, s"$made calls: $statement")
    }
  }
}
