package sfbatch

import org.apache.spark.sql.Row

class ProceduresSuite extends LakeSuite {
  private lazy val flights: String = {
    val t = newName()
    sql(s"CREATE TABLE $t (id INT, year INT, name STRING) USING sfbatch PARTITIONED BY (year, name)")
    sql(s"INSERT INTO $t VALUES (1, 2016, 'a/b'), (2, 2017, 'x')")
    sql(s"INSERT OVERWRITE $t VALUES (3, 2016, 'a/b')")
    t
  }

  test("history lists versions newest first, with the columns that everybody reads") {
    val history = sql(s"CALL sfbatch.history(table => '$flights')")
    assertEquals(
      history.columns.mkString(", "),
      "version, timestamp, user, operation, partition, batch_id, previous_batch_id, is_current, location, rows, bytes, files, app_id, job_id, user_metadata"
    )
    assertEquals(
      history.collect().map(r => (r.getLong(0), r.getString(3), Option(r.getString(4)))).toSeq,
      Seq(
        (3L, "write", Some("year=2016/name=a%2Fb")),
        (2L, "write", Some("year=2016/name=a%2Fb")),
        (2L, "write", Some("year=2017/name=x")),
        (1L, "create", None)
      )
    )
    assertEquals(
      history.where("version = 3").select("rows", "files", "is_current", "app_id").collect().toSeq,
      Seq(Row(1L, 1L, true, LocalLake.context.applicationId))
    )
  }

  test("arguments may be positional, named, mixed, parameters, of any case and quoted name") {
    def versions(call: String, args: Map[String, Any] = Map.empty) =
      spark.sql(call, args).select("version").collect().map(_.getLong(0)).toSeq
    assertEquals(versions(s"call SFBATCH.History('$flights', 'year=2017/name=x', 5);"), Seq(2L))
    assertEquals(versions(s"-- why\nCALL `sfbatch`.history('$flights', limit => 1)"), Seq(3L))
    assertEquals(
      versions(
        "CALL sfbatch.history(table => :t, partition => :p)",
        Map("t" -> flights, "p" -> "year=02016/name=a%2Fb")
      ),
      Seq(3L, 2L)
    )
    assertEquals(versions(s"CALL sfbatch.history(table => '$flights', partition => 'year=2017')"), Seq(2L))
  }

  test("rollback is a version, restores by version or batch ID, and can be undone; a dry run changes nothing") {
    val before = seen(flights)
    val batch = sql(s"CALL sfbatch.history('$flights')").where("version = 2").select("batch_id").head().getString(0)
    val dry = sql(s"CALL sfbatch.rollback(table => '$flights', to => 2, dry_run => true)").collect()
    assertEquals(dry.map(r => (r.getString(0), r.isNullAt(4))).toSeq, Seq(("year=2016/name=a%2Fb", true)))
    assertEquals(seen(flights), before)
    val done = sql(s"CALL sfbatch.rollback('$flights', $batch, 'year=2016')").collect()
    assertEquals(
      done.map(r => (r.getString(0), r.getString(2), r.getLong(4))).toSeq,
      Seq(("year=2016/name=a%2Fb", batch, 4L))
    )
    assertEquals(seen(flights), Set(Row(1, 2016, "a/b"), Row(2, 2017, "x")))
    assertEquals(rows(spark.table(flights)), seen(flights))
    sql(s"CALL sfbatch.rollback('$flights', to => '3')")
    assertEquals(seen(flights), before)
  }

  test("recover has nothing to do on a sound table") {
    assertEquals(sql(s"CALL sfbatch.recover('$flights')").collect().toSeq, Nil)
  }

  test("adopt makes an existing Hive table ours in place") {
    val t = newName()
    stock.sql(s"CREATE TABLE $t (a INT) PARTITIONED BY (p STRING) STORED AS ORC")
    stock.sql(s"INSERT INTO $t VALUES (1, 'x'), (2, 'y')")
    refused("SFBATCH_NOT_OURS", "adopt")(sql(s"CALL sfbatch.history('$t')"))
    assertEquals(sql(s"CALL sfbatch.adopt('$t')").select("table", "format").collect().toSeq, Seq(Row(t, "orc")))
    sql(s"INSERT OVERWRITE $t VALUES (3, 'y')")
    assertEquals(seen(t), Set(Row(1, "x"), Row(3, "y")))
    sql(s"CALL sfbatch.rollback('$t', 1)")
    assertEquals(seen(t), Set(Row(1, "x"), Row(2, "y")))
    val whole = newName()
    stock.sql(s"CREATE TABLE $whole (a INT) STORED AS ORC")
    sql(s"CALL sfbatch.adopt('$whole')")
    assertEquals(parameters(whole).get("sfbatch.version"), Some("1")) // what a late call of ours is known by
  }

  test("a table of another system, or one whose readers skip lines, is not adopted") {
    Seq(
      "table_type" -> "ICEBERG",
      "storage_handler" -> "org.apache.hadoop.hive.hbase.HBaseStorageHandler",
      "skip.header.line.count" -> "1"
    )
      .foreach { case (property, value) =>
        val t = newName()
        stock.sql(s"CREATE TABLE $t (a INT) STORED AS TEXTFILE")
        val hive = LocalLake.metastore.getTable(db, t.split('.').last)
        hive.getParameters.put(property, value)
        LocalLake.metastore.alter_table(db, hive.getTableName, hive)
        refused("SFBATCH_CANNOT_ADOPT", value, "CREATE TABLE")(sql(s"CALL sfbatch.adopt('$t')"))
        assertEquals(parameters(t).keys.filter(_.startsWith("sfbatch.")).toSeq, Nil)
      }
  }

  test("a text table whose properties say how its files are read is written so once it is adopted") {
    Seq("", " PARTITIONED BY (p INT)").foreach { partitioned =>
      val t = newName()
      stock.sql(
        s"CREATE TABLE $t (a STRING, b STRING)$partitioned STORED AS TEXTFILE " +
          "TBLPROPERTIES ('serialization.null.format' = '', 'field.delim' = '|')"
      )
      val values = if (partitioned.isEmpty) "'y'" else "'y', 1"
      stock.sql(s"INSERT INTO $t VALUES ('x', $values)")
      sql(s"CALL sfbatch.adopt('$t')")
      sql(s"INSERT INTO $t VALUES (NULL, $values)")
      assertEquals(seen(t).map(r => (r.get(0), r.get(1))), Set[(Any, Any)](("x", "y"), (null, "y")))
    }
  }

  test("adopt goes by the input format too: manifests of other files are read and rolled back, not written") {
    def symlinks(serde: String) = s"ROW FORMAT SERDE '$serde' STORED AS " +
      "INPUTFORMAT 'org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'"
    Seq(Format.Text, Format.Parquet).foreach { format =>
      val t = newName()
      stock.sql(s"CREATE TABLE $t (a STRING) PARTITIONED BY (p INT) ${symlinks(format.storage.serde)}")
      assertEquals(rows(sql(s"CALL sfbatch.adopt('$t')").select("format")), Set(Row("hive")))
      refused("SFBATCH_UNSUPPORTED", "SymlinkTextInputFormat")(sql(s"INSERT INTO $t VALUES ('x', 1)"))
    }
  }

  test("partitions whose values no write would spell so are not adopted") {
    val t = newName()
    stock.sql(s"CREATE TABLE $t (n INT) PARTITIONED BY (m INT, d DATE, s STRING) STORED AS PARQUET")
    stock.sql(s"INSERT INTO $t VALUES (1, 1, DATE'2016-01-01', '01 a/b'), (2, NULL, NULL, NULL)")
    val place = java.nio.file.Paths.get(LocalLake.warehouse, s"$db.db", t.split('.').last)
    val spelled = java.nio.file.Files.createDirectories(place.resolve("m=01/d=2016-1-1/s=x"))
    stock.sql(s"MSCK REPAIR TABLE $t")
    refused("SFBATCH_CANNOT_ADOPT", "m=01/d=2016-1-1/s=x", "1 partitions", "CREATE TABLE")(
      sql(s"CALL sfbatch.adopt('$t')")
    )
    assertEquals(parameters(t).keys.filter(_.startsWith("sfbatch.")).toSeq, Nil)
    assert(!java.nio.file.Files.exists(place.resolve("_sfbatch")))
    java.nio.file.Files.delete(spelled)
    stock.sql(s"MSCK REPAIR TABLE $t SYNC PARTITIONS")
    sql(s"CALL sfbatch.adopt('$t')")
    sql(s"INSERT OVERWRITE $t PARTITION (m = 1, d = '2016-01-01', s = '01 a/b') SELECT 3")
    assertEquals(seen(t).map(_.getInt(0)), Set(2, 3))
    for (short <- Seq("2016", "2016-01"))
      refused("SFBATCH_BAD_PARTITION", s"'$short'", "DATE")(sql(s"CALL sfbatch.history('$t', 'd=$short')"))
  }

  test("an adopted table whose partition columns Spark knows by capitals is written like any other") {
    val t = newName()
    stock.sql(s"CREATE TABLE $t (Id INT) PARTITIONED BY (Day STRING) STORED AS PARQUET")
    stock.sql(s"INSERT INTO $t PARTITION (Day = 'x') VALUES (1)")
    stock.sql(s"ALTER TABLE $t PARTITION (Day = 'x') SET SERDEPROPERTIES ('other' = '1')") // an append rewrites it
    sql(s"CALL sfbatch.adopt('$t')")
    sql(s"INSERT OVERWRITE $t PARTITION (Day = 'y') SELECT 2")
    sql(s"INSERT OVERWRITE $t PARTITION (day = 'z') SELECT 2 WHERE false")
    sql(s"INSERT INTO $t VALUES (3, 'x')")
    assertEquals(seen(t), Set(Row(1, "x"), Row(2, "y"), Row(3, "x")))
    sql(s"ALTER TABLE $t DROP PARTITION (DAY = 'y')")
    assertEquals(seen(t), Set(Row(1, "x"), Row(3, "x")))
    assertEquals(sql(s"CALL sfbatch.history('$t', 'Day=x')").count(), 2L)
  }

  test("a wrong call is refused and tells the right one") {
    def bad(call: String, parts: String*) = refused("SFBATCH_BAD_CALL", parts: _*)(sql(call))
    val usage = "sfbatch.history(table, [partition], [limit => 20])"
    bad(
      "CALL sfbatch.historie('t')",
      "historie",
      usage,
      "sfbatch.rollback(table, to, [partition], [dry_run => false])",
      "sfbatch.recover(table)",
      "sfbatch.adopt(table)"
    )
    bad("CALL sfbatch.history()", "'table' is missing", usage)
    bad("CALL sfbatch.history(tabel => 't')", "tabel", usage)
    bad("CALL sfbatch.history('t', 'p', 1, 2)", "too many", usage)
    bad("CALL sfbatch.history('t', table => 'u')", "twice", usage)
    bad("CALL sfbatch.history(table => 't', 'p')")
    bad("CALL sfbatch.history(table => db.t)", "quotes", "'db.t'")
    bad(s"CALL sfbatch.history('$flights', limit => 'many')", "limit", usage)
    bad(s"CALL sfbatch.history('$flights', limit => 0)", "at least 1", usage)
    bad(s"CALL sfbatch.rollback('$flights', to => 2, dry_run => 'yes')", "dry_run", "boolean")
    bad("CALL sfbatch.history('t'", "history")
    bad("CALL sfbatch.history", "history")
    bad("CALL sfbatch.rollback('t', to => rand())", "to")
    bad("CALL sfbatch.rollback('t', to => NULL)", "to => NULL", "sfbatch.rollback(table, to")
    bad("CALL sfbatch.history(NULL)", "table => NULL", usage)
    bad("CALL sfbatch.rollback('t', to => 1, partition => NULL)", "partition => NULL")
    bad("CALL sfbatch.rollback('t', to => 1, dry_run => CAST(NULL AS BOOLEAN))", "dry_run => NULL")
    bad("CALL sfbatch.history('')", "expected db.table")
    refused("SFBATCH_UNKNOWN_VERSION")(sql(s"CALL sfbatch.rollback('$flights', '\u0662')"))
    refused("SFBATCH_UNKNOWN_TABLE", s"$db.nothing")(sql(s"CALL sfbatch.history('$db.nothing')"))
    refused("SFBATCH_BAD_PARTITION", "'month'", "year=.../name=...")(
      sql(s"CALL sfbatch.history('$flights', 'month=1')")
    )
    refused("SFBATCH_BAD_PARTITION", "'abc'", "INT")(sql(s"CALL sfbatch.history('$flights', 'year=abc')"))
    refused("SFBATCH_BAD_PARTITION", "'2016.7'", "INT")(sql(s"CALL sfbatch.history('$flights', 'year=2016.7')"))
  }

  test("other texts with CALL in them are left alone") {
    assertEquals(sql("SELECT 'CALL sfbatch.history(1)' AS call").head().getString(0), "CALL sfbatch.history(1)")
    val e = intercept[org.apache.spark.sql.AnalysisException](sql("CALL other.thing(1)"))
    assert(!e.getMessage.contains("SFBATCH"), e.getMessage)
  }

  test("comments and blanks cost next to nothing before any statement, and may hold a CALL") {
    val comments =
      Seq("/*a*/ " * 40, " " * 20000, "-- x\n" * 5000, s"/* /* */ CALL sfbatch.history('$flights') */", "--\n/**/")
    comments.foreach { comment =>
      assertEquals(rows(sql(comment + "SELECT 1")), Set(Row(1)))
      assertEquals(
        sql(s"${comment}CALL sfbatch.history('$flights', limit => 1)${" " * 20000};").columns.head,
        "version"
      )
    }
    Seq("/* open CALL sfbatch.history('t')", "--", "", "/*").foreach { text =>
      val e = intercept[org.apache.spark.sql.AnalysisException](sql(text))
      assert(!e.getMessage.contains("SFBATCH"), e.getMessage)
    }
  }
}
