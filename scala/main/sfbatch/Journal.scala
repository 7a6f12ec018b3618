package sfbatch

import java.time.Instant
import java.util.concurrent.ConcurrentHashMap
import org.apache.hadoop.fs.{FileStatus, Path}
import scala.annotation.tailrec
import scala.util.Random
import sfbatch.Json._

/** What `_sfbatch/journal` holds near its end: among the versions listed, those whose `.done` says shown and those
  * whose says refused.
  */
final case class Tail(newest: Long, finished: Set[Long], refused: Set[Long], listedFrom: Long)

/** Neither a yes nor a no: whose commit it was says what to do. */
private[sfbatch] final class CommitUnclear(detail: String, cause: Throwable)
    extends SfBatchException("SFBATCH_STORE_FAILED", detail, cause, "Mend the store, and run again.")

/** The files under `<root>/_sfbatch`: owner, claims, versions, marks, checkpoints. Creates, never changes one. */
final class Journal(val root: Path, val tableId: String, val store: Store) {
  private val home = new Path(root, "_sfbatch")
  private val versions = new Path(home, "journal")
  private val claims = new Path(home, "claims")
  private val checkpoints = new Path(home, "checkpoints")
  private val marks = new Path(home, "unclear")
  val emptyDirectory = new Path(home, "empty")

  private def blockDirectory(block: Long) = new Path(versions, f"$block%08d")
  private def entryPath(version: Long) = fileOf(version, Journal.EntrySuffix)
  private def donePath(version: Long) = fileOf(version, Journal.DoneSuffix)
  private def fileOf(version: Long, suffix: String) =
    new Path(blockDirectory(Journal.blockOf(version)), f"$version%012d$suffix")

  // --- owner ---

  def owner: Option[Owner] = store.read(new Path(home, "owner.json")).map { bytes =>
    val node = parse(bytes)
    Protocol.check(node, s"$home/owner.json")
    Owner(node.text("table_id"), node.text("database"), node.text("table"), node.text("nonce"))
  }

  /** True when this call made it ours. */
  def own(owner: Owner, caller: Caller): Boolean = {
    val node = obj()
      .put("protocol", Protocol.Number)
      .put("table_id", owner.tableId)
      .put("database", owner.database)
      .put("table", owner.table)
      .put("nonce", owner.nonce)
      .put("created_at", time(Instant.now()))
      .put("created_by", caller.user)
    store.createExclusive(new Path(home, "owner.json"), bytes(node)) || this.owner.exists(_.nonce == owner.nonce)
  }

  // --- claims ---

  private def claimPath(id: BatchId) = new Path(claims, s"$id.json")

  def isClaimed(id: BatchId): Boolean = store.exists(claimPath(id))

  /** A batch ID of the caller's own: this second if free, else a random free one soon after. */
  def claim(caller: Caller): BatchId = {
    val nonce = java.util.UUID.randomUUID().toString
    def take(id: BatchId): Boolean = {
      val node = obj()
        .put("protocol", Protocol.Number)
        .put("batch_id", id.value)
        .put("nonce", nonce)
        .put("user", caller.user)
        .put("host", caller.host)
        .maybe("app_id", caller.appId)
        .maybe("job_id", caller.jobId)
        .put("started_at", time(Instant.now()))
      store.createExclusive(claimPath(id), bytes(node)) || store
        .read(claimPath(id))
        .exists(b => parse(b).textOf("nonce").contains(nonce))
    }
    val first = BatchId.at(Instant.now())
    if (take(first)) first
    else {
      val taken = store.list(claims).map(_.getPath.getName.stripSuffix(".json")).toSet
      Iterator(3, 60, 3600, 86400)
        .flatMap(width => Random.shuffle((1 to width).toList).iterator.map(s => first.plusSeconds(s.toLong)))
        .filterNot(id => taken(id.value))
        .find(take)
        .getOrElse(
          throw new SfBatchException(
            "SFBATCH_NO_BATCH_ID",
            s"no free batch ID within a day after $first under $claims."
          )
        )
    }
  }

  // --- versions ---

  /** Versions have no gaps: whoever knows one lists its block, and the next one only when that is full. */
  def tail(): Tail = {
    def numbers(files: Seq[FileStatus], suffix: String) =
      files.collect {
        case f if f.getPath.getName.matches(s"[0-9]{12}$suffix") => f.getPath.getName.take(12).toLong -> f.getLen
      }
    def list(block: Long) = store.list(blockDirectory(block))
    def entriesIn(files: Seq[FileStatus]) = numbers(files, Journal.EntrySuffix).map(_._1)
    @tailrec def last(block: Long, files: Seq[FileStatus]): (Long, Seq[FileStatus]) =
      if (entriesIn(files).contains((block + 1) * Journal.BlockSize)) {
        val next = list(block + 1)
        if (entriesIn(next).isEmpty) block -> files else last(block + 1, next)
      } else block -> files
    val (block, newest) = knownBlock
      .map(known => last(known, list(known)))
      .filter { case (_, files) => entriesIn(files).nonEmpty }
      .getOrElse { val block = newestBlock; block -> list(block) }
    val files = if (block > 0 && entriesIn(newest).size < 3) list(block - 1) ++ newest else newest
    val entries = entriesIn(files)
    val done = numbers(files, Journal.DoneSuffix)
    val beyond = done.map(_._1).filter(v => entries.forall(_ < v))
    // Or its number would be given again. A listing on disk may have passed the entry's place before it was made.
    beyond.filterNot(hasVersion).foreach(missing(_))
    val (shown, refused) = done.partition(_._2 == 0)
    if (beyond.nonEmpty) tail()
    else if (entries.isEmpty) Tail(0, Set.empty, Set.empty, 1)
    else Tail(entries.max, shown.map(_._1).toSet, refused.map(_._1).toSet, entries.min)
  }

  private def knownBlock: Option[Long] = Option(Journal.cache.get(cacheKey)).map(s => Journal.blockOf(s.version))

  private def newestBlock: Long =
    (0L +: store
      .list(versions)
      .map(_.getPath.getName)
      .filter(n => n.length == 8 && n.forall(_.isDigit))
      .map(_.toLong)).max

  def hasVersion(version: Long): Boolean = store.read(entryPath(version)).isDefined

  /** None when there is no such version. */
  def entry(version: Long): Option[Entry] = store.read(entryPath(version)).map(bytes => readEntry(version, bytes))

  private def readEntry(version: Long, bytes: Array[Byte]): Entry =
    try Entry.fromJson(gunzip(bytes))
    catch {
      case e: SfBatchException => throw e
      case scala.util.control.NonFatal(e) =>
        throw damaged(entryPath(version), e)
    }

  private def damaged(path: Path, e: Throwable) = new SfBatchException(
    "SFBATCH_JOURNAL_DAMAGED",
    s"$path cannot be read (${e.getMessage}). Restore it from a backup of the store.",
    e
  )

  /** Of a version that must be there. @throws SfBatchException SFBATCH_JOURNAL_DAMAGED */
  def existing(version: Long): Entry = entry(version).getOrElse(missing(version))

  private def missing(version: Long) = throw new SfBatchException(
    "SFBATCH_JOURNAL_DAMAGED",
    s"${entryPath(version)} is missing, though later files exist. Restore it from a backup of the store."
  )

  /** The commit point: true when `entry` is now version `entry.version`.
    *
    * @throws CommitUnclear
    *   when nobody can tell
    * @throws SfBatchException
    *   when it never will be
    */
  def commit(entry: Entry): Boolean = {
    def mine = this.entry(entry.version).exists(_.nonce == entry.nonce)
    try store.createExclusive(entryPath(entry.version), gzip(Entry.toJson(entry))) || mine
    catch {
      case e: SfBatchException if e.code != "SFBATCH_STORE_UNSUPPORTED" => // the name may have been taken before the trouble came, or be taken soon
        val late = e.getCause.isInstanceOf[NoAnswer]
        def unclear = new CommitUnclear(
          s"whether version ${entry.version} was committed to $root cannot be told (${Errors.reason(e)}).",
          e
        )
        val taken =
          try mine
          catch {
            case second: SfBatchException if second.code == "SFBATCH_NO_PERMISSION" && !late =>
              false // nor was there a right to write
            case second: SfBatchException =>
              e.addSuppressed(second)
              throw unclear
          }
        taken || { throw if (late) unclear else e }
    }
  }

  /** Some(true): shown; Some(false): closed as refused; None: neither yet. Once told it is so for ever. */
  def outcome(version: Long): Option[Boolean] = store.read(donePath(version)).map(_.isEmpty)

  /** `.done`, empty: the metastore showed it. False when it was closed as refused. */
  def markShown(version: Long): Boolean = mark(version, Array.emptyByteArray).isEmpty

  /** `.done` that says refused: it will be closed by an abort. False when it was shown. */
  def markRefused(version: Long): Boolean = mark(version, "refused".getBytes("UTF-8")).nonEmpty

  // One name for both, so that a version cannot be acknowledged and aborted (docs/adr/0101).
  private def mark(version: Long, outcome: Array[Byte]): Array[Byte] =
    if (store.createExclusive(donePath(version), outcome)) outcome else store.read(donePath(version)).getOrElse(outcome)

  // --- unclear calls ---

  /** Says, before it is made, that a call about these partitions may be under way. Its time is that of the newest
    * version, if the clock's is earlier, or one writer whose clock is ahead would hide the marks of all others.
    */
  def markUnclear(version: Long, partitions: Iterable[Seq[String]]): Unit = {
    val time = math.max(System.currentTimeMillis(), snapshot(tail().newest).hourEnds.toEpochMilli)
    val id = f"$time%013d-$version%012d-${java.util.UUID.randomUUID().toString.take(8)}.json"
    val node =
      obj().put("protocol", Protocol.Number).put("version", version).child("partitions", array(partitions)(strings))
    store.createExclusive(new Path(marks, id), bytes(node))
    ()
  }

  /** Partitions about which a call may be under way: marks wait, however long nobody comes. */
  def unclear(state: Snapshot): Set[Seq[String]] = {
    val horizon = state.hourEnds.minusSeconds(Snapshot.RecentSeconds).toEpochMilli
    val listed = if (store.list(home).exists(_.getPath.getName == marks.getName)) store.list(marks) else Seq.empty
    listed
      .map(_.getPath)
      .filter(p =>
        p.getName.endsWith(".json") && p.getName.take(13).forall(_.isDigit) && p.getName.take(13).toLong > horizon
      )
      .flatMap(p => readMark(p, store.read(p).getOrElse(throw damaged(p, new NoSuchElementException("it is gone")))))
      .toSet
  }

  private def readMark(path: Path, bytes: Array[Byte]): Seq[Seq[String]] =
    try parse(bytes).items("partitions").map(node => (0 until node.size).map(node.get(_).asText))
    catch { case scala.util.control.NonFatal(e) => throw damaged(path, e) }

  // --- state ---

  /** The state after the newest version, kept for the next one who asks. */
  def current(tail: Tail): Snapshot = {
    val state = snapshot(tail.newest)
    Journal.cache.put(cacheKey, state)
    state
  }

  /** The state after `version` (every version up to it exists). */
  def snapshot(version: Long): Snapshot = {
    val known = Option(Journal.cache.get(cacheKey)).filter(_.version <= version)
    val from = known.filter(_.version >= version - Journal.CheckpointEvery).getOrElse(checkpointBefore(version))
    AtOnce.map(from.version + 1 to version)(existing).foldLeft(from)(_.replay(_))
  }

  /** The state with a version this process has just committed, which need not be read to be known. */
  def remember(entry: Entry): Unit = {
    val before = Option(Journal.cache.get(cacheKey)).filter(_.version == entry.version - 1)
    before.foreach(state => Journal.cache.put(cacheKey, state.replay(Entry.fromJson(Entry.toJson(entry)))))
  }

  private lazy val cacheKey = s"$tableId ${store.qualified(root)}"

  private def checkpointBefore(version: Long): Snapshot =
    store
      .list(checkpoints)
      .map(_.getPath.getName)
      .collect {
        case n if n.length == 20 && n.endsWith(".json.gz") && n.take(12).forall(_.isDigit) => n.take(12).toLong
      }
      .filter(_ <= version)
      .sorted(Ordering[Long].reverse)
      .iterator
      .flatMap(v => store.read(checkpointPath(v)).flatMap(b => scala.util.Try(Snapshot.fromJson(gunzip(b))).toOption))
      .find(s => s.version <= version)
      .getOrElse(Snapshot.empty)

  private def checkpointPath(version: Long) = new Path(checkpoints, f"$version%012d.json.gz")

  def writeCheckpoint(state: Snapshot): Unit = {
    store.createExclusive(checkpointPath(state.version), gzip(Snapshot.toJson(state))); ()
  }
}

/** Who a location belongs to. */
final case class Owner(tableId: String, database: String, table: String, nonce: String)

object Journal {
  val EntrySuffix = ".json.gz"
  val DoneSuffix = ".done"
  val BlockSize = 400
  val CheckpointEvery = 100
  def blockOf(version: Long): Long = (version - 1) / BlockSize
  private val cache = new ConcurrentHashMap[String, Snapshot]()
}
