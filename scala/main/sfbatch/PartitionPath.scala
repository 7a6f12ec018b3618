package sfbatch

import org.apache.hadoop.fs.Path

/** Partition values to directories and back; no value may leave the table's root or be hidden from readers. */
object PartitionPath {

  /** What Hive calls a null or empty value. */
  val Default = "__HIVE_DEFAULT_PARTITION__"

  private val special: Set[Char] =
    (('\u0001' to '\u001F') ++ Seq('"', '#', '%', '\'', '*', '/', ':', '=', '?', '\\', '\u007F', '{', '[', ']',
      '^')).toSet

  /** As Hive's `FileUtils.escapePathName` (Hive 2.3.9). */
  def escape(text: String): String = text.flatMap(c => if (special(c)) hex(c) else c.toString)

  def unescape(text: String): String = {
    val out = new StringBuilder
    var i = 0
    while (i < text.length) {
      val coded =
        if (text.charAt(i) == '%' && i + 2 < text.length)
          scala.util.Try(Integer.parseInt(text.substring(i + 1, i + 3), 16)).toOption
        else None
      coded match {
        case Some(code) => out.append(code.toChar); i += 3
        case None => out.append(text.charAt(i)); i += 1
      }
    }
    out.toString
  }

  private def hex(c: Char): String = f"%%${c.toInt}%02X"

  private def segment(value: String): String = {
    val escaped = escape(value)
    if (escaped.startsWith("_") || escaped.startsWith(".")) hex(escaped.head) + escaped.tail else escaped
  }

  private def stored(value: String): String = if (value == null || value.isEmpty) Default else value

  /** `Seq("2016", "a/b")` to `2016/a%2Fb` (style value) or `year=2016/x=a%2Fb` (style hive); `""` for an unpartitioned
    * table.
    */
  def directory(style: PartitionStyle, columns: Seq[String], values: Seq[String]): String = {
    require(columns.size == values.size, s"$columns against $values")
    columns
      .zip(values.map(stored))
      .map { case (name, value) =>
        if (style == PartitionStyle.Hive) s"${escape(name)}=${escape(value)}" else segment(value)
      }
      .mkString("/")
  }

  /** The metastore's name of a partition: always `name=value/...`. */
  def name(columns: Seq[String], values: Seq[String]): String = directory(PartitionStyle.Hive, columns, values)

  /** The values in the metastore's name of a partition, which is also what Spark calls its directory. */
  def values(name: String): Seq[String] = fromDirectories(PartitionStyle.Hive, name.split("/").toSeq)

  /** The values in the directories of a batch, outermost first. */
  def fromDirectories(style: PartitionStyle, directories: Seq[String]): Seq[String] =
    directories.map(d => unescape(if (style == PartitionStyle.Hive) d.substring(d.indexOf('=') + 1) else d))

  /** `<root>/<partition directory>/<batch id>`. */
  def batch(table: Table, values: Seq[String], batchId: BatchId): Path = {
    val relative = directory(table.style, table.partitionColumns.map(_.name), values)
    new Path(if (relative.isEmpty) table.root else new Path(table.root, relative), batchId.value)
  }

  /** `new Path(location).toUri.getPath`, which takes some 7 microseconds; an adopted table may have 50,000. */
  def ofLocation(location: String): String = {
    val scheme = location.indexOf(":/")
    val path = if (scheme < 0 || location.indexOf('/') < scheme) location else location.substring(scheme + 1)
    val absolute = if (path.startsWith("//")) path.substring(math.max(2, path.indexOf('/', 2))) else path
    if (!absolute.startsWith("/") || absolute.endsWith("/") || absolute.contains("//") || absolute.contains("/."))
      new Path(location).toUri.getPath
    else absolute
  }

  /** The directory of the partition's batches and those above it: who lists one lists the batches too, published or
    * not.
    */
  def above(table: Table, values: Seq[String]): Seq[String] =
    if (!table.isPartitioned) Nil
    else {
      val own = new Path(table.root, directory(table.style, table.partitionColumns.map(_.name), values))
      Iterator.iterate(own)(_.getParent).takeWhile(_ != null).map(_.toUri.getPath).toSeq
    }
}
