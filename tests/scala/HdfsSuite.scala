package sfbatch

import java.nio.file.Files
import java.util.concurrent.{Callable, Executors}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hdfs.MiniDFSCluster
import org.apache.spark.sql.Row
import scala.jdk.CollectionConverters._

/** HDFS, a small one in this process. */
class HdfsSuite extends LakeSuite {
  private lazy val cluster =
    new MiniDFSCluster.Builder(new Configuration(), Files.createTempDirectory("hdfs").toFile).build()
  private lazy val at = cluster.getFileSystem.getUri

  override def afterAll(): Unit = cluster.shutdown()

  test("of racing creates exactly one wins, and nothing else is left") {
    val directory = new Path(s"$at/race")
    val store = Store.of(directory, new Configuration())
    val pool = Executors.newFixedThreadPool(8)
    try {
      for (key <- 1 to 20) {
        val file = new Path(directory, s"$key")
        val calls =
          (1 to 8).map(n => (() => store.createExclusive(file, s"by $n".getBytes)): Callable[Boolean]).asJava
        val won = pool.invokeAll(calls).asScala.map(_.get).zipWithIndex.collect { case (true, n) => n + 1 }
        assertEquals(won.size, 1)
        assertEquals(store.read(file).map(new String(_)), Some(s"by ${won.head}"))
      }
    } finally pool.shutdown()
    assertEquals(store.list(directory).map(_.getPath.getName).toSet, (1 to 20).map(_.toString).toSet)
  }

  test("written, rewritten, appended, emptied, rolled back; a stock session reads each") {
    val t = newName()
    sql(s"CREATE TABLE $t (id INT, day STRING) USING sfbatch PARTITIONED BY (day) LOCATION '$at/$t'")
    sql(s"INSERT INTO $t VALUES (1, 'a'), (2, 'b')")
    sql(s"INSERT OVERWRITE $t VALUES (3, 'a')")
    sql(s"INSERT INTO $t VALUES (4, 'a')")
    assertEquals(seen(t), Set(Row(3, "a"), Row(4, "a"), Row(2, "b")))
    sql(s"INSERT OVERWRITE $t PARTITION (day = 'b') SELECT 1 WHERE false")
    assertEquals(seen(t), Set(Row(3, "a"), Row(4, "a")))
    sql(s"CALL sfbatch.rollback(table => '$t', to => 2)")
    assertEquals(seen(t), Set(Row(1, "a"), Row(2, "b")))
    assert(!cluster.getFileSystem.exists(new Path(s"$at/$t/_temporary")))
  }
}
