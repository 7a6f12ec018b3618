package sfbatch

import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.metastore.api.{
  FieldSchema,
  Partition => HivePartition,
  SerDeInfo,
  StorageDescriptor,
  Table => HiveTable
}
import scala.collection.JavaConverters._

/** What the metastore shows of one partition. */
final case class Observed(location: Path, version: Option[Long], partition: Option[HivePartition])

/** Makes the metastore show what the journal says (step 9); sends each change once and believes only what it reads
  * back.
  */
final class Publisher(table: Table, journal: Journal, metastore: Metastore) {
  private val names = table.partitionColumns.map(_.name)
  private val empty = journal.store.qualified(journal.emptyDirectory)

  def locationOf(values: Seq[String], shown: Shown): Path =
    journal.store.qualified(
      shown.location.map(new Path(_)).getOrElse(PartitionPath.batch(table, values, shown.batchId.get))
    )

  /** One metastore request for up to 1,000 partitions. */
  def observe(values: Iterable[Seq[String]]): Map[Seq[String], Observed] =
    if (values.isEmpty) Map.empty
    else if (!table.isPartitioned) {
      val now = hiveTable()
      Map(Seq.empty[String] -> observed(now.getSd, now.getParameters, None))
    } else
      metastore.partitions(table.database, table.name, values.map(PartitionPath.name(names, _)).toSeq).map {
        case (v, p) =>
          v -> observed(p.getSd, p.getParameters, Some(p))
      }

  private def observed(
      sd: StorageDescriptor,
      parameters: java.util.Map[String, String],
      p: Option[HivePartition]
  ): Observed =
    Observed(
      journal.store.qualified(new Path(sd.getLocation)),
      Option(parameters.get(Table.Version)).flatMap(v => scala.util.Try(v.toLong).toOption),
      p
    )

  /** The table object now. @throws SfBatchException SFBATCH_UNKNOWN_TABLE, SFBATCH_TABLE_ID_MISMATCH */
  def hiveTable(): HiveTable = {
    val now =
      metastore.table(table.database, table.name).getOrElse(throw Errors.unknownTable(table.database, table.name))
    val id = now.getParameters.get(Table.Id)
    if (id != table.id)
      throw new SfBatchException(
        "SFBATCH_TABLE_ID_MISMATCH",
        s"table $table now has id $id, not ${table.id}: it was dropped and made anew while this write ran.",
        mend = "Nothing was published; run it again."
      )
    now
  }

  /** An absent partition may also be there with the empty directory: no reader finds a row in it. */
  def agrees(values: Seq[String], shown: Option[Shown], observed: Option[Observed]): Boolean = (shown, observed) match {
    case (None, None) => true
    case (None, Some(o)) => isPlaceholder(o)
    case (Some(s), Some(o)) =>
      o.location == locationOf(values, s) && (s.batchId.isEmpty || o.version.contains(s.version))
    case (Some(_), None) => false
  }

  def isPlaceholder(o: Observed): Boolean = o.location == empty

  /** Until the metastore shows every target.
    *
    * @param version
    *   the newest the caller knows of; a partition that shows a later one raises Overtaken, if the journal has one
    * @param known
    *   what was just observed of the targets, to save a request
    * @param isNew
    *   whether a partition was absent before: only such a one is added (docs/adr/0102)
    * @param remove
    *   whether absent partitions are dropped too, after they show no row (rollback and drop_partition alone:
    *   docs/adr/0105)
    * @param unclear
    *   called once, before it goes on after an answer that did not come
    * @throws Vanished;
    *   Overtaken; Denied; Refused after three refusals; SfBatchException SFBATCH_METASTORE_DOWN after
    *   `sfbatch.publish.timeout-ms`
    */
  def show(
      version: Long,
      targets: Map[Seq[String], Option[Shown]],
      known: Option[Map[Seq[String], Observed]],
      isNew: Seq[String] => Boolean,
      remove: Boolean,
      unclear: () => Unit
  ): Unit = {
    var refusals = 0
    var unclearSince = 0L
    var now = known.getOrElse(observe(targets.keys))
    def pending = targets.filterNot { case (v, s) =>
      agrees(v, s, now.get(v)) && !(remove && s.isEmpty && now.contains(v))
    }
    var todo = pending
    while (todo.nonEmpty) {
      if (todo.keys.exists(v => now.get(v).flatMap(_.version).exists(_ > version)) && journal.hasVersion(version + 1))
        throw new Overtaken
      val vanished = todo.collect { case (v, Some(_)) if !now.contains(v) && !isNew(v) => v }.toSet
      if (vanished.nonEmpty) throw new Vanished(vanished)
      try send(version, todo, now, remove)
      catch {
        case e: Unclear =>
          if (unclearSince == 0) { unclear(); unclearSince = System.nanoTime() }
          else if (System.nanoTime() - unclearSince > metastore.unclearMs * 1000000L)
            throw new SfBatchException(
              "SFBATCH_METASTORE_DOWN",
              s"the metastore has not answered for ${metastore.unclearMs / 1000} s whether it shows version $version of $table (${e.getMessage}).",
              e,
              "Nothing of this operation was published: run it again when the metastore answers."
            )
          Thread.sleep(500)
        case e: Refused =>
          refusals += 1
          if (refusals >= 3) throw e
          Thread.sleep(200L * refusals)
      }
      now = observe(targets.keys)
      todo = pending
    }
  }

  private def send(
      version: Long,
      targets: Map[Seq[String], Option[Shown]],
      now: Map[Seq[String], Observed],
      remove: Boolean
  ): Unit =
    if (!table.isPartitioned) targets.values.flatten.foreach(alterTable)
    else {
      val shows = targets.collect { case (values, Some(shown)) => values -> shown }
      val leaving = (targets.keySet -- shows.keySet).toSeq.filter(now.contains)
      val (there, fresh) = shows.toSeq.partition { case (values, _) => now.contains(values) }
      lazy val base = hiveTable()
      if (leaving.isEmpty && there.isEmpty && fresh.size <= Publisher.AddAtOnce)
        metastore.addPartitions(fresh.map { case (v, s) => build(base, v, s) })
      else {
        if (fresh.nonEmpty || leaving.nonEmpty) ensureEmpty()
        fresh
          .grouped(Publisher.AddByPlaceholder)
          .foreach(some => metastore.addPartitions(some.map { case (v, s) => placeholder(build(base, v, s), 0) }))
        Step("placed", table)
        val altered = there.map { case (v, s) => alter(now(v).partition.get.deepCopy(), v, s) } ++
          fresh.map { case (v, s) => build(base, v, s) } ++
          leaving.filterNot(v => isPlaceholder(now(v))).map(v => placeholder(now(v).partition.get.deepCopy(), version))
        if (altered.nonEmpty) metastore.alterPartitions(table.database, table.name, altered)
        if (remove && leaving.nonEmpty) {
          Step("dropping", table)
          metastore.dropPartitions(table.database, table.name, leaving.map(PartitionPath.name(names, _)))
        }
      }
    }

  /** A file that a stock INSERT into a partition that had left put there would be rows of every placeholder. */
  private def ensureEmpty(): Unit = {
    journal.store.makeDirectory(journal.emptyDirectory)
    journal.store.list(journal.emptyDirectory).find(f => !f.getPath.getName.matches("[_.].*")).foreach { file =>
      throw new SfBatchException(
        "SFBATCH_STORE_FAILED",
        s"${file.getPath} lies in the directory that stands for no rows, and readers of partitions shown empty would find it. Move it elsewhere: the next writer, or CALL sfbatch.recover(table => '$table'), goes on."
      )
    }
  }

  private def alterTable(shown: Shown): Unit = {
    val now = hiveTable()
    now.getSd.setLocation(locationOf(Nil, shown).toString)
    now.setParameters(parameters(now.getParameters.asScala.toMap, shown).asJava)
    metastore.alterTable(table.database, table.name, now)
  }

  private def build(base: HiveTable, values: Seq[String], shown: Shown): HivePartition = {
    val p = new HivePartition
    p.setDbName(table.database)
    p.setTableName(table.name)
    p.setValues(new java.util.ArrayList(values.asJava))
    p.setSd(base.getSd.deepCopy())
    p.setParameters(new java.util.HashMap[String, String])
    alter(p, values, shown)
  }

  private def alter(p: HivePartition, values: Seq[String], shown: Shown): HivePartition = {
    val sd = p.getSd
    sd.setLocation(locationOf(values, shown).toString)
    sd.setCols(shown.schema.map(Publisher.fieldSchema).asJava)
    sd.setInputFormat(shown.storage.inputFormat)
    sd.setOutputFormat(shown.storage.outputFormat)
    val serde = Option(sd.getSerdeInfo).getOrElse(new SerDeInfo)
    serde.setSerializationLib(shown.storage.serde)
    serde.setParameters(new java.util.HashMap(shown.storage.serdeProperties.asJava))
    sd.setSerdeInfo(serde)
    p.setParameters(parameters(Option(p.getParameters).map(_.asScala.toMap).getOrElse(Map.empty), shown).asJava)
    p
  }

  private def placeholder(p: HivePartition, version: Long): HivePartition = {
    p.getSd.setLocation(empty.toString)
    val statistics = Map("numRows" -> "0", "numFiles" -> "0", "totalSize" -> "0", Table.Version -> version.toString)
    p.setParameters(new java.util.HashMap((p.getParameters.asScala.toMap - Table.BatchIdName ++ statistics).asJava))
    p
  }

  private def parameters(before: Map[String, String], shown: Shown): Map[String, String] =
    Publisher.withoutStatistics(before) - Table.BatchIdName ++
      Map(Table.Version -> shown.version.toString) ++
      shown.batchId.map(Table.BatchIdName -> _.value) ++
      shown.rows.map("numRows" -> _.toString) ++
      shown.files.map("numFiles" -> _.toString) ++
      shown.bytes.map("totalSize" -> _.toString)
}

object Publisher {
  val AddAtOnce = 500
  val AddByPlaceholder = 100

  def fieldSchema(c: Column): FieldSchema = new FieldSchema(c.name, c.dataType, c.comment.orNull)

  private val statistics =
    Set(
      "numRows",
      "numFiles",
      "totalSize",
      "rawDataSize",
      "numFilesErasureCoded",
      "COLUMN_STATS_ACCURATE",
      "transient_lastDdlTime",
      "numPartitions"
    )

  def withoutStatistics(parameters: Map[String, String]): Map[String, String] =
    parameters.filterNot { case (k, _) => statistics(k) || k.startsWith("spark.sql.statistics.") }
}
