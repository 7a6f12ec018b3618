package sfbatch

import java.nio.file.{Files, Paths}
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.metastore.api.Partition
import org.apache.spark.sql.Row
import scala.jdk.CollectionConverters._

/** What others did to a table, before it was ours or since: seen, put on record, and undone where asked. */
class OthersSuite extends LakeSuite with OnOneSpark {
  private def create(): String = {
    val table = newName()
    sql(s"CREATE TABLE $table (n INT, p INT) USING sfbatch PARTITIONED BY (p)")
    sql(s"INSERT INTO $table VALUES (1, 1), (2, 2)")
    table
  }
  private def partition(table: String, value: String): Partition =
    LocalLake.metastore.getPartition(db, table.split('.').last, java.util.Collections.singletonList(value))
  private def alter(table: String, value: String)(change: Partition => Unit): Unit = {
    val found = partition(table, value)
    change(found)
    LocalLake.metastore.alter_partition(db, table.split('.').last, found)
  }
  private def rollback(table: String, arguments: String): Set[(String, String)] =
    sql(s"CALL sfbatch.rollback('$table', $arguments)").collect().map(r => (r.getString(0), r.getString(3))).toSet

  test("a version number that others left on a partition hides no write") {
    val adopted = newName()
    stock.sql(s"CREATE TABLE $adopted (n INT) PARTITIONED BY (p INT) STORED AS PARQUET")
    stock.sql(s"INSERT INTO $adopted PARTITION (p = 1) VALUES (1)")
    alter(adopted, "1")(_.getParameters.put("sfbatch.version", "40"))
    sql(s"CALL sfbatch.adopt('$adopted')")
    sql(s"INSERT OVERWRITE $adopted PARTITION (p = 1) SELECT 2")
    assertEquals(seen(adopted), Set(Row(2, 1)))
    alter(adopted, "1")(_.getParameters.put("sfbatch.version", "41"))
    sql(s"INSERT INTO $adopted PARTITION (p = 1) SELECT 3")
    assertEquals(seen(adopted), Set(Row(2, 1), Row(3, 1)))
  }

  test("rollback brings back what others dropped or moved, and takes away what they added") {
    val table = create()
    val rows = seen(table)
    stock.sql(s"ALTER TABLE $table DROP PARTITION (p = 2)")
    assertEquals(rollback(table, "2, dry_run => true"), Set("p=2" -> "returns"))
    assertEquals(rollback(table, "2, partition => 'p=1'"), Set.empty[(String, String)])
    assertEquals(rollback(table, "2"), Set("p=2" -> "returns"))
    assertEquals(seen(table), rows)

    val elsewhere = Files.createDirectories(LocalLake.home.resolve(s"moved/${table.split('.').last}")).toUri.toString
    stock.sql(s"ALTER TABLE $table PARTITION (p = 2) SET LOCATION '$elsewhere'")
    sql(s"INSERT OVERWRITE $table VALUES (10, 1)")
    stock.sql(s"INSERT INTO $table PARTITION (p = 9) VALUES (9)")
    assertEquals(seen(table), Set(Row(10, 1), Row(9, 9)))
    val all = Set("p=1" -> "restored", "p=2" -> "restored", "p=9" -> "leaves")
    assertEquals(rollback(table, "2, dry_run => true"), all)
    assertEquals(rollback(table, "2, partition => 'p=2'"), Set("p=2" -> "restored"))
    assertEquals(rollback(table, "2"), all - ("p=2" -> "restored"))
    assertEquals(seen(table), rows)
    assertEquals(rollback(table, "2"), Set.empty[(String, String)])
  }

  test("a metastore restored from yesterday's backup shows today's rows after a rollback to the newest version") {
    val table = create()
    val yesterday = Seq("1", "2").map(partition(table, _))
    sql(s"INSERT OVERWRITE $table VALUES (10, 1), (3, 3)")
    sql(s"INSERT INTO $table VALUES (20, 2)")
    val rows = seen(table)
    yesterday.foreach(LocalLake.metastore.alter_partition(db, table.split('.').last, _))
    LocalLake.metastore.dropPartition(db, table.split('.').last, java.util.Collections.singletonList("3"), false)
    assertEquals(seen(table), Set(Row(1, 1), Row(2, 2)))
    rollback(table, "4")
    assertEquals(seen(table), rows)
    sql(s"INSERT INTO $table VALUES (30, 3)")
    assertEquals(seen(table), rows + Row(30, 3))
  }

  test("a partition that others dropped is not there to be dropped, and history says that they did it") {
    val table = create()
    stock.sql(s"ALTER TABLE $table DROP PARTITION (p = 2)")
    val refused = intercept[SfBatchException](sql(s"ALTER TABLE $table DROP PARTITION (p = 2)"))
    assertEquals(refused.code, "SFBATCH_UNKNOWN_PARTITION")
    sql(s"ALTER TABLE $table DROP IF EXISTS PARTITION (p = 2)")
    val history = sql(s"CALL sfbatch.history('$table')").collect().map(r => r.getLong(0) -> r.getString(3)).toSeq
    assertEquals(history.head, 3L -> "external")
  }

  test("replaceWhere empties partitions that others added, too") {
    val table = create()
    stock.sql(s"INSERT INTO $table PARTITION (p = 9) VALUES (9)")
    val write = spark.sql("SELECT 5 n, 1 p").write.format("sfbatch").mode("overwrite")
    write.option("replaceWhere", "P >= 1").save(table)
    assertEquals(seen(table), Set(Row(5, 1)))
    sql("SELECT 5 n, 1 p WHERE false").write
      .format("sfbatch")
      .mode("overwrite")
      .option("replaceWhere", "P = 7")
      .save(table)
    assert(stock.sql(s"SHOW PARTITIONS $table").collect().contains(Row("p=7")))
  }

  test("a partition that others moved to another file system can be read of, dropped and overwritten") {
    val table = create()
    alter(table, "1")(_.getSd.setLocation("hdfs://localhost:1/somewhere"))
    sql(s"INSERT OVERWRITE $table VALUES (10, 1)")
    assertEquals(seen(table), Set(Row(10, 1), Row(2, 2)))
    alter(table, "2")(_.getSd.setLocation("hdfs://localhost:1/somewhere"))
    assertEquals(rollback(table, "2, partition => 'p=2'"), Set("p=2" -> "restored"))
    assertEquals(seen(table), Set(Row(10, 1), Row(2, 2)))
  }

  test("no batch goes into a directory where others keep another partition") {
    val table = newName()
    stock.sql(s"CREATE TABLE $table (n INT) PARTITIONED BY (p STRING) STORED AS TEXTFILE")
    stock.sql(s"INSERT INTO $table PARTITION (p = 'eu') VALUES (1)")
    val root =
      Paths.get(new Path(LocalLake.metastore.getTable(db, table.split('.').last).getSd.getLocation).toUri.getPath)
    Files.move(root.resolve("p=eu"), root.resolve("2016"))
    alter(table, "eu")(_.getSd.setLocation(root.resolve("2016").toUri.toString))
    sql(s"CALL sfbatch.adopt('$table')")
    sql(s"INSERT INTO $table VALUES (2, '2016')")
    assertEquals(seen(table), Set(Row(1, "eu"), Row(2, "2016")))

    val later = create()
    val place = new Path(parameters(later)("sfbatch.root"), "5")
    stock.sql(s"ALTER TABLE $later ADD PARTITION (p = 9) LOCATION '$place'")
    stock.sql(s"INSERT INTO $later PARTITION (p = 9) VALUES (9)")
    sql(s"INSERT INTO $later VALUES (3, 9)") // puts it on record
    sql(s"CALL sfbatch.rollback('$later', 3)")
    val before = seen(later)
    refused("SFBATCH_CONFLICT", "p=9")(sql(s"INSERT INTO $later VALUES (5, 5)"))
    assertEquals(seen(later), before)
  }

  test("an id is not taken up again for other partition columns, nor while a renamed table has it") {
    val location = LocalLake.home.resolve("taken_up").toUri.toString
    def external(table: String, columns: String): Unit =
      stock.sql(
        s"CREATE EXTERNAL TABLE $table (n INT) PARTITIONED BY ($columns) STORED AS PARQUET LOCATION '$location'"
      )
    val table, renamed = newName()
    external(table, "p INT")
    sql(s"CALL sfbatch.adopt('$table')")
    sql(s"DROP TABLE $table")
    external(table, "p INT, q INT")
    refused("SFBATCH_LOCATION_OWNED")(sql(s"CALL sfbatch.adopt('$table')"))
    stock.sql(s"DROP TABLE $table")
    external(table, "p INT")
    sql(s"CALL sfbatch.adopt('$table')")
    sql(s"ALTER TABLE $table RENAME TO $renamed")
    external(table, "p INT")
    refused("SFBATCH_LOCATION_OWNED")(sql(s"CALL sfbatch.adopt('$table')"))
    assertEquals(sql(s"CALL sfbatch.history('$renamed')").count(), 2L)
  }
}
