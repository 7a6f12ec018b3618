package sfbatch

import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Paths}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import scala.jdk.CollectionConverters._

/** Writes of the protocol by itself, on a real metastore server, without Spark: their files are made by hand. */
trait ByHand extends Patient {
  protected val conf = {
    val c = new Configuration
    c.set("hive.metastore.uris", LocalLake.uri)
    c.setInt("sfbatch.lock.heartbeat-ms", 300)
    c
  }
  protected val warehouse = Warehouse(conf, Caller("ada", "host1", Some("app-1"), None))
  protected val columns = Seq(Column("id", "bigint"), Column("item", "string"))
  protected val day = Seq(Column("date", "string"))
  private var count = 0

  protected def create(partitionColumns: Seq[Column] = day): Table = {
    count += 1
    warehouse.create(
      TableSpec(
        "default",
        s"${getClass.getSimpleName.toLowerCase}_$count",
        Format.Text,
        Format.Text.storage,
        PartitionStyle.Value,
        columns,
        partitionColumns,
        None,
        None,
        Map.empty
      )
    )
  }

  protected def writeFile(
      table: Table,
      values: Seq[String],
      batch: BatchId,
      text: String,
      name: String = "part-0"
  ): Written = {
    val directory = Paths.get(PartitionPath.batch(table, values, batch).toUri.getPath)
    Files.createDirectories(directory)
    Files.write(directory.resolve(name), text.getBytes(UTF_8))
    val files = Files.list(directory).iterator.asScala.toSeq
    Written(values, batch, files.size.toLong, files.map(Files.size(_)).sum, Some(1))
  }

  protected def begin(table: Table, options: WriteOptions = WriteOptions(append = false)): Write =
    warehouse
      .begin(warehouse.table(table.database, table.name), options)
      .fold(a => fail(s"already published: $a"), identity)

  protected def overwrite(table: Table, texts: (String, String)*): Outcome = {
    val write = begin(table)
    write.publish(texts.map { case (date, text) => writeFile(write.table, Seq(date), write.batchId, text) })
  }

  /** What a stock reader finds: partition -> the text of its files. */
  protected def shown(table: Table): Map[String, String] =
    LocalLake.metastore
      .listPartitions(table.database, table.name, (-1).toShort)
      .asScala
      .map(p => p.getValues.asScala.mkString("/") -> text(p.getSd.getLocation))
      .filter(_._2.nonEmpty)
      .toMap
  protected def text(location: String): String =
    Files
      .list(Paths.get(new Path(location).toUri.getPath))
      .iterator
      .asScala
      .toSeq
      .filterNot(_.getFileName.toString.startsWith("_"))
      .sorted
      .map(p => new String(Files.readAllBytes(p), UTF_8))
      .mkString

  protected def journal(table: Table) = new Journal(table.root, table.id, Store.of(table.root, conf))

  /** Replay equals the metastore. */
  protected def assertReplay(table: Table): Unit = {
    val files = journal(table)
    val tail = files.tail()
    val replayed = (1L to tail.newest).map(v => files.entry(v).get).foldLeft(Snapshot.empty)(_ replay _)
    assertEquals(replayed, files.snapshot(tail.newest))
    val expected = replayed.partitions.map { case (v, s) =>
      v -> s.location.getOrElse(PartitionPath.batch(table, v, s.batchId.get).toString)
    }
    val actual = LocalLake.metastore
      .listPartitions(table.database, table.name, (-1).toShort)
      .asScala
      .map(p => (p.getValues.asScala.toSeq: Seq[String]) -> new Path(p.getSd.getLocation).toString)
      .filterNot(_._2.endsWith("/_sfbatch/empty"))
      .toMap
    if (table.isPartitioned)
      assertEquals(actual.map { case (k, v) => k.toList -> v }, expected.map { case (k, v) => k.toList -> v })
    assertEquals(
      (tail.listedFrom to tail.newest).filterNot(v =>
        tail.finished(v) || files.entry(v + 1).exists(_.aborts.contains(v))
      ),
      Vector.empty
    )
  }
}
