package sfbatch

import io.delta.sql.DeltaSparkSessionExtension
import org.apache.spark.sql.{Row, SparkSession}

class DeltaCoexistenceSuite extends LakeSuite {
  private val settings = Seq(
    "spark.sql.catalog.spark_catalog" -> "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions" -> "1",
    "spark.databricks.delta.stats.collect" -> "false"
  )
  private lazy val orders: Seq[(String, SparkSession)] = Seq(
    "ours first" -> LocalLake.session(Seq(new SfBatchExtensions, new DeltaSparkSessionExtension), settings: _*),
    "delta first" -> LocalLake.session(Seq(new DeltaSparkSessionExtension, new SfBatchExtensions), settings: _*)
  )

  private def each(rule: String)(body: SparkSession => Unit): Unit = Seq("ours first", "delta first").foreach { order =>
    test(s"$rule, $order") {
      val session = orders.toMap.apply(order)
      SparkSession.setActiveSession(session)
      body(session)
    }
  }

  each("Delta's tables work as if we were not there") { session =>
    val t, u = newName()
    session.sql(s"CREATE TABLE $t (id INT, p STRING) USING delta PARTITIONED BY (p)")
    session.sql(s"INSERT INTO $t VALUES (1, 'a'), (2, 'b')")
    session.sql(s"UPDATE $t SET id = 3 WHERE p = 'b'")
    session.sql(
      s"MERGE INTO $t t USING (SELECT 3 AS id, 'c' AS p) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET id = 4 WHEN NOT MATCHED THEN INSERT *"
    )
    session.sql(s"ALTER TABLE $t ADD COLUMNS (x INT)")
    session.createDataFrame(Seq((5, "e", 1))).toDF("id", "p", "x").writeTo(t).append()
    session.sql(s"INSERT INTO $t REPLACE WHERE p = 'e' SELECT 6, 'e', 1")
    assertEquals(rows(session.table(t)), Set(Row(1, "a", null), Row(4, "b", null), Row(6, "e", 1)))
    assertEquals(session.sql(s"SELECT count(*) FROM $t VERSION AS OF 1").head().getLong(0), 2L)
    session.sql(s"DELETE FROM $t WHERE id = 1")
    // Delta 3.3.2 cannot replace a table on Spark 3.5.6, alone in the session as well: "does not support truncate in batch mode".
    if (!session.version.startsWith("3.")) {
      session.sql(s"CREATE OR REPLACE TABLE $t USING delta AS SELECT 1 AS a")
      session.range(3).write.format("delta").mode("overwrite").option("overwriteSchema", "true").saveAsTable(t)
    }
    session.range(2).write.format("delta").saveAsTable(u)
    session.sql(s"DROP TABLE $u")
  }

  each("our tables work as if Delta were not there") { session =>
    val t, u, v = newName()
    session.sql(s"CREATE TABLE $t (id INT, p STRING) USING sfbatch PARTITIONED BY (p)")
    session.sql(s"INSERT INTO $t VALUES (1, 'a'), (2, 'b')")
    session.sql(s"INSERT OVERWRITE $t PARTITION (p = 'b') SELECT 3")
    session.createDataFrame(Seq(4 -> "c")).toDF("id", "p").write.insertInto(t)
    session.createDataFrame(Seq(5 -> "c")).toDF("id", "p").write.format("sfbatch").mode("append").saveAsTable(t)
    session.sql(s"ALTER TABLE $t DROP PARTITION (p = 'a')")
    session.sql(s"ALTER TABLE $t ADD COLUMNS (x INT)")
    assertEquals(seen(t), Set(Row(3, null, "b"), Row(4, null, "c"), Row(5, null, "c")))
    session.sql(s"CALL sfbatch.rollback('$t', 2)")
    assertEquals(seen(t), Set(Row(1, null, "a"), Row(2, null, "b")))
    session.sql(s"CREATE TABLE $u USING sfbatch AS SELECT * FROM $t")
    session.table(t).writeTo(v).using("sfbatch").create()
    assertEquals(seen(u) -> seen(v), seen(t) -> seen(t))
    Seq(
      s"DELETE FROM $t",
      s"UPDATE $t SET id = 1",
      s"MERGE INTO $t t USING $u s ON t.id = s.id WHEN MATCHED THEN DELETE",
      s"TRUNCATE TABLE $t",
      s"CREATE OR REPLACE TABLE $t USING delta AS SELECT 1 AS a",
      s"DROP TABLE $t PURGE",
      s"DROP DATABASE $db CASCADE"
    )
      .foreach(statement => assertEquals(refusal(session.sql(statement))._1, "SFBATCH_REFUSED", statement))
    val more = session.table(u)
    refused("SFBATCH_REFUSED", "insertInto")(more.write.format("sfbatch").mode("overwrite").saveAsTable(t))
    refused("SFBATCH_CATALOG_TAKEN", "DeltaCatalog")(more.writeTo(t).append())
    intercept[Exception](more.write.format("delta").mode("overwrite").saveAsTable(t))
    intercept[Exception](more.writeTo(t).using("delta").createOrReplace())
    assert(parameters(t).contains("sfbatch.table-id"))
  }
}
