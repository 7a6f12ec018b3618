package sfbatch

import org.apache.spark.sql.{Row, SparkSession}
import org.apache.spark.sql.functions.{col, lit, udf}

class WriteToSuite extends LakeSuite {
  private def frame(values: (Int, String)*) = spark.createDataFrame(values).toDF("id", "p")
  private lazy val plain: SparkSession = LocalLake.session(Seq(new SfBatchExtensions))

  test("writeTo creates, appends and overwrites the partitions in the data, by name") {
    val t = newName()
    frame(1 -> "a", 2 -> "b")
      .writeTo(t)
      .using("sfbatch")
      .partitionedBy(col("p"))
      .tableProperty("sfbatch.partition-style", "hive")
      .create()
    frame(3 -> "b").select("p", "id").writeTo(t).append()
    assertEquals(seen(t), Set(Row(1, "a"), Row(2, "b"), Row(3, "b")))
    frame(4 -> "b").writeTo(t).option("userMetadata", "again").overwritePartitions()
    assertEquals(seen(t), Set(Row(1, "a"), Row(4, "b")))
    assertEquals(
      sql(s"CALL sfbatch.history('$t', limit => 1)").select("operation", "user_metadata").head(),
      Row("write", "again")
    )
    intercept[Exception](frame(1 -> "a").writeTo(t).using("sfbatch").create())
  }

  test("overwrite with a condition is replaceWhere") {
    val t = newName()
    frame(1 -> "a", 2 -> "b").writeTo(t).using("sfbatch").partitionedBy(col("p")).create()
    frame(5 -> "a").writeTo(t).overwrite(col("p").isin("a", "c"))
    assertEquals(seen(t), Set(Row(5, "a"), Row(2, "b")))
    refused("SFBATCH_ROW_OUTSIDE_DECLARED", "p=b")(frame(6 -> "b").writeTo(t).overwrite(col("p") === "a"))
    refused("SFBATCH_REFUSED", "overwritePartitions")(frame(6 -> "b").writeTo(t).overwrite(lit(true)))
    sql(s"INSERT INTO $t REPLACE WHERE p = 'b' SELECT 7, 'b'")
    assertEquals(seen(t), Set(Row(5, "a"), Row(7, "b")))
    sql(s"INSERT INTO $t REPLACE WHERE true SELECT 7, 'b'")
    assertEquals(seen(t), Set(Row(7, "b")))
    sql(s"INSERT INTO $t VALUES (5, 'a')")
    val both = "x AS (SELECT rand(1) < 2 AS y, 'b' AS p)"
    sql(s"WITH $both INSERT INTO $t REPLACE WHERE p = 'b' SELECT 8, x.p FROM x JOIN x z USING (y)")
    assertEquals(seen(t), Set(Row(5, "a"), Row(8, "b")))
    sql(s"INSERT INTO $t REPLACE WHERE p >= 'b' WITH $both SELECT 9, x.p FROM x JOIN x z USING (y) WHERE NOT x.y")
    assertEquals(seen(t), Set(Row(5, "a")))
  }

  test("replace and createOrReplace are refused") {
    val t = newName()
    frame(1 -> "a").writeTo(t).using("sfbatch").create()
    def refuses(action: => Any) = {
      val e = intercept[org.apache.spark.sql.AnalysisException](action)
      assert(e.getMessage.contains("REPLACE"), e.getMessage)
    }
    refuses(frame(2 -> "a").writeTo(t).using("sfbatch").createOrReplace())
    refuses(frame(2 -> "a").writeTo(t).using("sfbatch").replace())
    assertEquals(seen(t), Set(Row(1, "a")))
  }

  test("saveAsTable and CREATE TABLE AS SELECT create, append, and may be run again after a failure") {
    val a, b, failing = newName()
    frame(1 -> "a").write.format("sfbatch").partitionBy("p").option("format", "orc").saveAsTable(a)
    frame(2 -> "b").select("p", "id").write.format("sfbatch").mode("append").saveAsTable(a)
    frame(3 -> "c").write.mode("append").partitionBy("p").saveAsTable(a)
    assertEquals(seen(a), Set(Row(1, "a"), Row(2, "b"), Row(3, "c")))
    assertEquals(parameters(a)("sfbatch.format"), "orc")
    sql(
      s"CREATE TABLE $b USING sfbatch PARTITIONED BY (p) AS WITH x AS (SELECT p, id FROM $a) SELECT p, id AS ID FROM x"
    )
    assertEquals(seen(b), seen(a))
    def create(divisor: Int) =
      sql(
        s"CREATE TABLE $failing USING sfbatch PARTITIONED BY (p) AS SELECT id, assert_true(id < $divisor) AS checked, p FROM $a"
          .replace("assert_true(", "IF(")
          .replace(s"id < $divisor)", s"id < $divisor, 1, raise_error('no'))")
      )
    intercept[Exception](create(2))
    assert(!stock.catalog.tableExists(failing))
    create(100)
    assertEquals(seen(failing).size, 3)
    sql(s"CREATE TABLE IF NOT EXISTS $failing USING sfbatch AS SELECT 1 AS x")
    assertEquals(seen(failing).size, 3)
  }

  test("a failed CREATE TABLE AS SELECT leaves the table that another made under its name meanwhile") {
    val t = newName()
    val Array(database, name) = t.split('.')
    val failing = udf { (id: Int) => WriteToSuite.replace(database, name); id / 0 }
    intercept[Exception](frame(1 -> "a").select(failing(col("id")).as("x")).write.format("sfbatch").saveAsTable(t))
    assertEquals(parameters(t).get("whose"), Some("theirs"))
  }

  test("without our catalog the other ways of writing work, and writeTo says what to do") {
    SparkSession.setActiveSession(plain)
    val t = newName()
    plain.sql(s"CREATE TABLE $t (id INT, p STRING) USING sfbatch PARTITIONED BY (p)")
    plain.sql(s"INSERT INTO $t VALUES (1, 'a')")
    val more = plain.createDataFrame(Seq(2 -> "b")).toDF("id", "p")
    more.write.insertInto(t)
    more.write.format("sfbatch").mode("append").saveAsTable(t)
    assertEquals(seen(t), Set(Row(1, "a"), Row(2, "b")))
    refused("SFBATCH_CATALOG_TAKEN", "insertInto")(more.writeTo(t).append())
    plain.sql(s"INSERT INTO $t REPLACE WHERE p = 'a' SELECT 9, 'a'")
    refused("SFBATCH_REFUSED")(plain.sql(s"DELETE FROM $t WHERE id = 1"))
    refused("SFBATCH_REFUSED")(plain.sql(s"DROP TABLE $t PURGE"))
  }

  test("with our catalog other tables are written as ever") {
    val t = newName()
    frame(1 -> "a").write.saveAsTable(t)
    frame(2 -> "b").write.insertInto(t)
    sql(s"INSERT INTO $t VALUES (3, 'c')")
    frame(4 -> "d").write.mode("append").saveAsTable(t)
    assertEquals(rows(spark.table(t)), Set(Row(1, "a"), Row(2, "b"), Row(3, "c"), Row(4, "d")))
    val e = intercept[org.apache.spark.sql.AnalysisException](frame(5 -> "e").writeTo(t).append())
    assert(!e.getMessage.contains("SFBATCH"), e.getMessage)
  }
}

object WriteToSuite {

  /** As somebody else does, who dropped a table and made one of their own. */
  def replace(database: String, name: String): Unit = {
    val table = LocalLake.metastore.getTable(database, name)
    LocalLake.metastore.dropTable(database, name, false, true)
    table.setParameters(java.util.Map.of("whose", "theirs", "EXTERNAL", "TRUE"))
    LocalLake.metastore.createTable(table)
  }
}
