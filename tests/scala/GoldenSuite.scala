package sfbatch

import com.fasterxml.jackson.databind.{JsonNode, ObjectMapper}
import com.fasterxml.jackson.databind.node.{ArrayNode, ObjectNode}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path => File, Paths}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.common.FileUtils
import org.apache.hadoop.hive.metastore.api.ShowLocksRequest
import scala.jdk.CollectionConverters._
import sfbatch.Json._

/** tests/golden: what every implementation reads and writes alike. `SFBATCH_GOLDEN=write` writes the vectors anew (then
  * review the diff).
  */
class GoldenSuite extends Patient {
  private val golden = Paths.get("tests", "golden").toAbsolutePath
  private val conf = new Configuration
  private val mapper = new ObjectMapper
  private val caller = Caller("ada", "host1", None, None)

  override def beforeAll(): Unit = if (sys.env.get("SFBATCH_GOLDEN").contains("write")) writeVectors(golden)

  private def tree(file: File): JsonNode = mapper.readTree(Files.readAllBytes(file))

  /** As read back: the numbers' Java types do not count. */
  private def plain(node: JsonNode): JsonNode = Json.parse(Json.bytes(node))
  private def zipped(file: File): JsonNode = Json.gunzip(Files.readAllBytes(file))
  private def files(directory: File): Seq[File] = {
    val walk = Files.walk(directory)
    try
      walk.iterator.asScala
        .filter(Files.isRegularFile(_))
        .filterNot(_.toString.endsWith(".crc"))
        .toList
        .sortBy(_.toString)
    finally walk.close()
  }
  private def journal(g: GoldenJournal, under: File = golden) = {
    val root = new Path(under.resolve(g.name).toUri)
    new Journal(root, g.owner.tableId, Store.of(root, conf))
  }
  private def known(node: JsonNode): JsonNode = {
    node match {
      case o: ObjectNode =>
        o.remove(o.fieldNames.asScala.filter(_.startsWith("x_")).toList.asJava);
        o.elements.forEachRemaining { n => known(n); () }
      case a: ArrayNode => a.elements.forEachRemaining { n => known(n); () }
      case _ => ()
    }
    node
  }

  private def writeVectors(to: File): Unit = {
    def put(file: String, node: JsonNode): Unit = {
      val target = to.resolve(file)
      Files.createDirectories(target.getParent)
      Files.write(target, (mapper.writerWithDefaultPrettyPrinter.writeValueAsString(node) + "\n").getBytes(UTF_8))
      ()
    }
    put(
      "partition-paths.json",
      Json.array(GoldenPaths.all) { case (columns, values, style) =>
        val texts = mapper.createArrayNode
        values.foreach(v => if (v == null) texts.addNull() else texts.add(v))
        Json
          .obj()
          .put("style", style.name)
          .child("columns", Json.strings(columns))
          .child("values", texts)
          .put("directory", PartitionPath.directory(style, columns, values))
          .put("name", PartitionPath.name(columns, values))
      }
    )
    put(
      "version-files.json",
      Json.array(Seq(1L, 9L, 400L, 401L, 800L, 801L, 123456L)) { version =>
        Json.obj().put("version", version).put("entry", GoldenPaths.entryFile(version, conf))
      }
    )
    GoldenJournals.all.foreach { g =>
      val root = to.resolve(g.name)
      if (Files.exists(root)) files(root).foreach(Files.delete)
      g.write(new Path(root.toUri), conf)
      g.states.foreach(s => put(f"${g.name}/states/${s.version}%012d.json", Snapshot.toJson(s)))
      files(root.resolve("_sfbatch/journal")).filter(_.toString.endsWith(".json.gz")).foreach { file =>
        put(s"${g.name}/entries/${file.getFileName.toString.stripSuffix(".gz")}", zipped(file))
      }
    }
  }

  test("partition values go to the same directory, and never out of the root") {
    val vectors = tree(golden.resolve("partition-paths.json")).elements.asScala.toList
    assert(vectors.size > 60)
    vectors.foreach { v =>
      val columns = v.texts("columns")
      val values = v.get("values").elements.asScala.map(t => if (t.isNull) null else t.asText).toList
      val style = PartitionStyle.of(v.text("style"))
      val directory = PartitionPath.directory(style, columns, values)
      assertEquals(directory, v.text("directory"))
      assertEquals(PartitionPath.name(columns, values), v.text("name"))
      assertEquals(directory.split("/", -1).length, columns.size)
      assert(
        !directory
          .split("/")
          .exists(s => s.isEmpty || s == "." || s == ".." || style == PartitionStyle.Value && "_.".contains(s.head)),
        directory
      )
      val hive = columns
        .zip(values)
        .map { case (c, x) => s"${FileUtils.escapePathName(c)}=${FileUtils.escapePathName(x)}" }
        .mkString("/")
      assertEquals(PartitionPath.name(columns, values), hive)
    }
  }

  test("batch IDs are 14 digits of a valid second") {
    val vectors = tree(golden.resolve("batch-ids.json"))
    vectors.get("valid").elements.forEachRemaining(t => assert(BatchId.isBatchId(t.asText), t.asText))
    vectors.get("invalid").elements.forEachRemaining(t => assert(!BatchId.isBatchId(t.asText), t.asText))
  }

  test("a version's file follows from its number") {
    tree(golden.resolve("version-files.json")).elements.asScala.foreach { v =>
      assertEquals(GoldenPaths.entryFile(v.get("version").asLong, conf), v.get("entry").asText)
    }
  }

  GoldenJournals.all.foreach { g =>
    val directory = golden.resolve(g.name)
    def entries = files(directory.resolve("entries")).map(tree)
    def states = files(directory.resolve("states")).map(tree)

    test(s"${g.name}: the journal is read, replayed and written back alike") {
      val read = entries.map(Entry.fromJson)
      read.zip(entries).foreach { case (entry, node) => assertEquals(plain(Entry.toJson(entry)), known(node)) }
      val replayed = read.scanLeft(Snapshot.empty)(_ replay _).tail
      assertEquals(replayed.size, states.size)
      replayed.zip(states).foreach { case (state, node) =>
        assertEquals(plain(Snapshot.toJson(state)), node)
        assertEquals(Snapshot.fromJson(node), state)
      }
    }

    test(s"${g.name}: the directory says the same, with its marks and checkpoints") {
      val on = journal(g)
      val tail = on.tail()
      assertEquals(on.owner.map(_.tableId), Some(g.owner.tableId))
      assertEquals(tail.newest, g.told.last.entry.version)
      assertEquals(tail.refused, g.told.filter(_.refused).map(_.entry.version).toSet)
      assertEquals(tail.finished, g.told.filterNot(_.refused).map(_.entry.version).toSet)
      g.told.foreach { t =>
        val version = t.entry.version
        assertEquals(on.entry(version), Some(t.entry))
        assertEquals(on.snapshot(version), g.states(version.toInt - 1))
        assertEquals(
          zipped(directory.resolve(f"_sfbatch/journal/00000000/$version%012d.json.gz")),
          tree(directory.resolve(f"entries/$version%012d.json"))
        )
      }
      g.checkpoints.foreach { v =>
        assertEquals(
          zipped(directory.resolve(f"_sfbatch/checkpoints/$v%012d.json.gz")),
          tree(directory.resolve(f"states/$v%012d.json"))
        )
      }
      assert(g.claims.forall(on.isClaimed))
    }
  }

  test("every operation of the protocol is in a journal") {
    assertEquals(
      GoldenJournals.all.flatMap(_.told.map(_.entry.operation)).toSet,
      Set(
        "create",
        "adopt",
        "write",
        "rollback",
        "drop_partition",
        "external",
        "abort",
        "repair",
        "anchor",
        "drop_anchor",
        "stage",
        "publish",
        "discard"
      )
    )
  }

  test("the vectors are what this code writes") {
    val fresh = Files.createTempDirectory("golden")
    writeVectors(fresh)
    def contents(under: File) =
      files(under).map(f => under.relativize(f).toString).filterNot(f => f.contains("owner.json"))
    val written = contents(fresh)
    assertEquals(contents(golden).filter(written.contains), written)
    written.foreach { name =>
      val (a, b) = (fresh.resolve(name), golden.resolve(name))
      if (name.endsWith(".json")) assertEquals(tree(a), tree(b), name)
      else if (name.endsWith(".gz")) assertEquals(zipped(a), zipped(b), name)
      else assertEquals(new String(Files.readAllBytes(a), UTF_8), new String(Files.readAllBytes(b), UTF_8), name)
    }
  }

  test("an unclear mark is honoured until a version is an hour younger than its name") {
    val vector = golden.resolve("unclear-mark").resolve("_sfbatch").resolve("unclear")
    val Seq(mark) = files(vector)
    val root = new Path(Files.createTempDirectory("unclear").toUri)
    val on = new Journal(root, "id", Store.of(root, conf))
    val home = Paths.get(new Path(root, "_sfbatch/unclear").toUri)
    def place(ageMs: Long) = {
      Files.createDirectories(home)
      Files.copy(mark, home.resolve(f"${System.currentTimeMillis - ageMs}%013d" + mark.getFileName.toString.drop(13)))
    }
    val state = Snapshot.empty.copy(recent = Map(1L -> java.time.Instant.now))
    place(3660000)
    assertEquals(on.unclear(state), Set.empty[Seq[String]])
    place(3500000)
    assertEquals(on.unclear(state), Set(Seq("2016-10-01", "a/b"), Seq("2016-10-02", PartitionPath.Default)))

    val own = Files.createTempDirectory("unclear")
    new Journal(new Path(own.toUri), "id", on.store)
      .markUnclear(
        7,
        tree(mark).get("partitions").elements.asScala.map(_.elements.asScala.map(_.asText).toList).toList
      )
    val Seq(written) = files(own)
    assert(
      written.getFileName.toString.matches("[0-9]{13}-000000000007-[0-9a-f]{8}\\.json"),
      written.getFileName.toString
    )
    assertEquals(tree(written), tree(mark))
  }

  test("the lock is asked for as the vector says") {
    val vector = tree(golden.resolve("lock-request.json"))
    val lockConf = new Configuration
    lockConf.set("hive.metastore.uris", LocalLake.uri)
    lockConf.setLong("sfbatch.lock.heartbeat-ms", vector.get("heartbeat_ms").asLong)
    val warehouse = Warehouse(lockConf, caller)
    val table = warehouse.create(
      TableSpec(
        "default",
        "golden_lock",
        Format.Parquet,
        Format.Parquet.storage,
        PartitionStyle.Value,
        Seq(Column("id", "bigint")),
        Nil,
        None,
        None,
        Map.empty
      )
    )
    val request = new ShowLocksRequest
    request.setDbname(vector.get("component").get("dbname").asText)
    val Seq(lock) = warehouse.locked(table)(
      LocalLake.metastore.showLocks(request).getLocks.asScala.toSeq.filter(_.getTablename.startsWith(table.id))
    )
    val c = vector.get("component")
    assertEquals(lock.getTablename, c.get("tablename").asText.replace(vector.get("table_id").asText, table.id))
    assertEquals(lock.getType.toString, c.get("type").asText)
    assertEquals(lock.getPartname, null)
    assertEquals(lock.getTxnid, 0L)
    assertEquals(lock.getUser, "ada")
    assertEquals(lock.getHostname, "host1")
    assert(lock.getAgentInfo.matches("sfbatch:[0-9a-f-]{36}:" + vector.get("heartbeat_ms").asText), lock.getAgentInfo)
    assert(vector.get("agentInfo").asText.matches("sfbatch:[0-9a-f-]{36}:" + vector.get("heartbeat_ms").asText))
  }
}

object GoldenPaths {
  private val hostile = Seq(
    "20161001",
    "a/b",
    "/",
    "//",
    "a%2Fb",
    "%",
    "100%",
    "#1",
    "a:b",
    "a=b",
    "=",
    "?",
    "*",
    "\"",
    "'",
    "\\",
    "{x}",
    "[x]",
    "^",
    "$",
    "&",
    "+",
    "~",
    "a b",
    " ",
    " a",
    "a ",
    "Zürich",
    "日本",
    "e\u0301",
    "\ud83d\ude00",
    ".",
    "..",
    "...",
    ".hidden",
    "a.b",
    "_",
    "__",
    "_sfbatch",
    "_temporary",
    "a_b",
    "20161001/..",
    "../../etc",
    "%2E%2E",
    "\t",
    "\n",
    "\r",
    "\u0001",
    "\u001f",
    "\u007f",
    "\u0080",
    "\u2028",
    "",
    null,
    PartitionPath.Default,
    "20161001002334",
    "null",
    "NULL",
    "-1",
    "1.50",
    "2016-10-01 00:23:34"
  )
  val all: Seq[(Seq[String], Seq[String], PartitionStyle)] =
    Seq(PartitionStyle.Value, PartitionStyle.Hive).flatMap { style =>
      hostile.map(v => (Seq("day"), Seq(v), style)) ++ Seq(
        (Seq("year", "month", "day"), Seq("2016", "10", "01"), style),
        (Seq("a", "b"), Seq("..", null), style),
        (Seq("a b", "c%d"), Seq("x", "_y"), style),
        (Seq("größe"), Seq("1/2"), style)
      )
    }

  /** Where a version lies under `_sfbatch`. */
  def entryFile(version: Long, conf: Configuration): String = {
    val root = Files.createTempDirectory("version")
    val on = new Journal(new Path(root.toUri), "id", Store.of(new Path(root.toUri), conf))
    val entry = GoldenJournals.created.told.head.entry.copy(version = version)
    assert(on.commit(entry))
    val walk = Files.walk(root)
    try {
      val Seq(file) = walk.iterator.asScala.filter(Files.isRegularFile(_)).toSeq
      root.resolve("_sfbatch").relativize(file).toString
    } finally walk.close()
  }
}
