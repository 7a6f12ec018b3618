package sfbatch

import java.nio.charset.StandardCharsets.UTF_8
import sfbatch.Json._

/** Tells the job server what its job published: lines on stderr, which it finds in the job's log wherever that ran.
  *
  * `sfbatch-published {"job":"etl-7","table":"db.t","version":3,"operation":"write","partitions":{"day=20161001":"20161002002334"}}`
  *
  * A partition's value is its batch ID, the location of one that is no batch of ours, or null when it was dropped.
  */
private[sfbatch] object PublishedLine {
  private val PartitionsPerLine = 100

  def tell(table: Table, entry: Entry): Unit = entry.caller.jobId.foreach { job =>
    val names = table.partitionColumns.map(_.name)
    entry.changes.grouped(PartitionsPerLine).foreach { changes =>
      val partitions = obj()
      changes.foreach { c =>
        val shows = c.to.flatMap(s => s.batchId.map(_.value).orElse(s.location))
        partitions.put(PartitionPath.name(names, c.values), shows.orNull)
      }
      val told = obj()
        .put("job", job)
        .put("table", table.toString)
        .put("version", entry.version)
        .put("operation", entry.operation)
        .child("partitions", partitions)
      val line = "sfbatch-published ".getBytes(UTF_8) ++ bytes(told) :+ '\n'.toByte
      System.err.write(line, 0, line.length)
      System.err.flush()
    }
  }
}
