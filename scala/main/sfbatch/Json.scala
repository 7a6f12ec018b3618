package sfbatch

import com.fasterxml.jackson.databind.{JsonNode, ObjectMapper}
import com.fasterxml.jackson.databind.node.{ArrayNode, ObjectNode}
import java.io.{ByteArrayInputStream, ByteArrayOutputStream}
import java.nio.charset.StandardCharsets.UTF_8
import java.util.zip.{GZIPInputStream, GZIPOutputStream}
import scala.collection.JavaConverters._

/** JSON trees to bytes and back; knows nothing of what they mean. */
private[sfbatch] object Json {
  private val mapper = new ObjectMapper()

  def obj(): ObjectNode = mapper.createObjectNode()
  def array[T](items: Iterable[T])(node: T => JsonNode): ArrayNode = {
    val out = mapper.createArrayNode()
    items.foreach(item => out.add(node(item)))
    out
  }
  def strings(items: Iterable[String]): ArrayNode = {
    val out = mapper.createArrayNode()
    items.foreach(out.add)
    out
  }
  def stringMap(items: Map[String, String]): ObjectNode = {
    val out = obj()
    items.toSeq.sortBy(_._1).foreach { case (k, v) => out.put(k, v) }
    out
  }

  def bytes(node: JsonNode): Array[Byte] = mapper.writeValueAsBytes(node)
  def gzip(node: JsonNode): Array[Byte] = {
    val out = new ByteArrayOutputStream
    val zip = new GZIPOutputStream(out)
    zip.write(bytes(node))
    zip.close()
    out.toByteArray
  }
  def parse(bytes: Array[Byte]): JsonNode = mapper.readTree(new String(bytes, UTF_8))
  def gunzip(bytes: Array[Byte]): JsonNode = {
    val in = new GZIPInputStream(new ByteArrayInputStream(bytes))
    try mapper.readTree(in)
    finally in.close()
  }

  implicit final class Read(private val node: JsonNode) extends AnyVal {
    def field(name: String): Option[JsonNode] = Option(node.get(name)).filterNot(_.isNull)
    def text(field: String): String =
      textOf(field).getOrElse(throw new IllegalArgumentException(s"no '$field' in $node"))
    def textOf(field: String): Option[String] = this.field(field).map(_.asText)
    def long(field: String): Long = longOf(field).getOrElse(throw new IllegalArgumentException(s"no '$field' in $node"))
    def longOf(field: String): Option[Long] = this.field(field).map(_.asLong)
    def items(field: String): Seq[JsonNode] = this.field(field).map(_.elements.asScala.toVector).getOrElse(Vector.empty)
    def texts(field: String): Seq[String] = items(field).map(_.asText)
    def entries(field: String): Map[String, JsonNode] =
      this.field(field).map(_.fields.asScala.map(e => e.getKey -> e.getValue).toMap).getOrElse(Map.empty)
  }

  implicit final class Build(private val node: ObjectNode) extends AnyVal {
    def maybe(field: String, value: Option[String]): ObjectNode = { value.foreach(node.put(field, _)); node }
    def maybeLong(field: String, value: Option[Long]): ObjectNode = { value.foreach(v => node.put(field, v)); node }
    def child(field: String, value: JsonNode): ObjectNode = { node.set[JsonNode](field, value); node }
  }

  /** `2016-11-02T23:42:52.001Z`, always with milliseconds. */
  private val instantFormat =
    java.time.format.DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(java.time.ZoneOffset.UTC)
  def time(instant: java.time.Instant): String = instantFormat.format(instant)
}
