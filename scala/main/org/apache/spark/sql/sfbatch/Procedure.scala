package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{HistoryRow, SfBatchException, Warehouse}
import org.apache.spark.sql.{AnalysisException, Row}
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.catalog.CatalogTable
import org.apache.spark.sql.catalyst.expressions.Attribute
import org.apache.spark.sql.catalyst.types.DataTypeUtils
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types.StructType
import scala.util.Try

final case class Parameter(name: String, accepts: String, default: Option[String] = None, required: Boolean = false)

/** One procedure of `CALL sfbatch.<name>(...)`; output columns are public: new ones only at the end. */
sealed abstract class Procedure(val name: String, val parameters: Seq[Parameter], ddl: String) {
  val output: StructType = StructType.fromDDL(ddl)
  def run(session: Session, warehouse: Warehouse, table: TableIdentifier, arguments: Map[String, String]): Seq[Row]

  /** `sfbatch.history(table, partition, limit => 20)` */
  def signature: String = parameters
    .map(p => if (p.required) p.name else s"[${p.name}${p.default.fold("")(" => " + _)}]")
    .mkString(s"sfbatch.$name(", ", ", ")")

  override def toString: String = name

  protected def ours(warehouse: Warehouse, table: TableIdentifier) = warehouse.table(table.database.get, table.table)
  protected def partition(
      session: Session,
      table: TableIdentifier,
      arguments: Map[String, String]
  ): Option[Map[String, String]] =
    arguments.get("partition").map(PartitionArgument.parse(session.sessionState.catalog.getTableMetadata(table), _))
}

object Procedure {
  private val Table = Parameter("table", "string", required = true)
  private val Partition = Parameter("partition", "string")

  case object History
      extends Procedure(
        "history",
        Seq(Table, Partition, Parameter("limit", "integer", Some("20"))),
        "version BIGINT, timestamp TIMESTAMP, user STRING, operation STRING, partition STRING, batch_id STRING, previous_batch_id STRING, " +
          "is_current BOOLEAN, location STRING, rows BIGINT, bytes BIGINT, files BIGINT, app_id STRING, job_id STRING, user_metadata STRING"
      ) {
    override def run(
        session: Session,
        warehouse: Warehouse,
        table: TableIdentifier,
        arguments: Map[String, String]
    ): Seq[Row] = {
      val limit = arguments
        .get("limit")
        .fold(Option(20))(text => scala.util.Try(text.toInt).toOption)
        .filter(_ > 0)
        .getOrElse(
          throw Call
            .bad(s"limit => ${arguments("limit")}: expected a number of at least 1. Usage: CALL $signature", None)
        )
      val read = ours(warehouse, table)
      warehouse.history(read, partition(session, table, arguments), limit).map(row)
    }

    private def row(h: HistoryRow): Row = Row(
      h.version,
      h.timestamp,
      h.user,
      h.operation,
      h.partition.orNull,
      h.batchId.orNull,
      h.previousBatchId.orNull,
      h.isCurrent.map(Boolean.box).orNull,
      h.location.orNull,
      h.rows.map(Long.box).orNull,
      h.bytes.map(Long.box).orNull,
      h.files.map(Long.box).orNull,
      h.appId.orNull,
      h.jobId.orNull,
      h.userMetadata.orNull
    )
  }

  case object Rollback
      extends Procedure(
        "rollback",
        Seq(
          Table,
          Parameter("to", "string", required = true),
          Partition,
          Parameter("dry_run", "boolean", Some("false"))
        ),
        "partition STRING, from_batch_id STRING, to_batch_id STRING, action STRING, version BIGINT"
      ) {
    override def run(
        session: Session,
        warehouse: Warehouse,
        table: TableIdentifier,
        arguments: Map[String, String]
    ): Seq[Row] = {
      val read = ours(warehouse, table)
      val dryRun = arguments.get("dry_run").contains("true")
      val done = warehouse.rollback(read, arguments("to"), partition(session, table, arguments), dryRun)
      done.undo.filterNot(_ => dryRun).foreach(undo => Console.err.println(s"sfbatch: to undo this rollback: $undo"))
      done.changes.map(c => Row(c.partition, c.from.orNull, c.to.orNull, c.action, done.version.map(Long.box).orNull))
    }
  }

  case object Recover extends Procedure("recover", Seq(Table), "action STRING, version BIGINT, partition STRING") {
    override def run(
        session: Session,
        warehouse: Warehouse,
        table: TableIdentifier,
        arguments: Map[String, String]
    ): Seq[Row] = {
      val done = warehouse.recover(ours(warehouse, table))
      done.finished.map(Row("finished", _, null)) ++ done.aborted.map(Row("aborted", _, null)) ++
        done.reasserted.map(Row("reasserted", null, _))
    }
  }

  case object Adopt
      extends Procedure("adopt", Seq(Table), "table STRING, table_id STRING, format STRING, root STRING") {
    override def run(
        session: Session,
        warehouse: Warehouse,
        table: TableIdentifier,
        arguments: Map[String, String]
    ): Seq[Row] = {
      refuseSpellings(session, table)
      val adopted = warehouse.adopt(table.database.get, table.table)
      Seq(Row(adopted.toString, adopted.id, adopted.format, adopted.root.toString))
    }

    /** `m=01` of an INT, as MSCK REPAIR takes it from a directory: no statement could name it, and a write of 1 would
      * make another partition beside it.
      */
    private def refuseSpellings(session: Session, name: TableIdentifier): Unit =
      Try(session.sessionState.catalog.getTableMetadata(name)).foreach {
        table => // what Spark cannot load is refused below
          val names =
            if (table.partitionColumnNames.isEmpty || OurTable.isOurs(table)) Nil
            else session.sharedState.externalCatalog.listPartitionNames(table.database, table.identifier.table)
          val odd = names.filterNot(PartitionValues.isAsWritten(table.partitionSchema, _))
          if (odd.nonEmpty)
            throw new SfBatchException(
              "SFBATCH_CANNOT_ADOPT",
              s"${table.identifier.unquotedString} has ${odd.size} partitions whose values are not spelled as a write of ${table.partitionSchema.toDDL} spells them: ${odd.take(5).mkString(", ")}. " +
                "Writes would make others beside them. Rename them in Hive, or copy the table into a new one with CREATE TABLE ... USING sfbatch AS SELECT."
            )
      }
  }

  val all: Seq[Procedure] = Seq(History, Rollback, Recover, Adopt)
}

final case class ProcedureCommand(procedure: Procedure, arguments: Map[String, String]) extends SessionCommand {
  override val output: Seq[Attribute] = DataTypeUtils.toAttributes(procedure.output)

  override protected def act(session: Session): Seq[Row] = {
    val parts =
      try session.sessionState.sqlParser.parseMultipartIdentifier(arguments("table"))
      catch {
        case e: AnalysisException => throw Call.bad(s"table => '${arguments("table")}': expected db.table", Some(e))
      }
    val analyzer = session.sessionState.analyzer
    import analyzer.SessionCatalogAndIdentifier
    val table = parts match {
      case SessionCatalogAndIdentifier(_, name) if name.namespace.length == 1 =>
        TableIdentifier(name.name, Some(name.namespace.head))
      case _ =>
        throw new SfBatchException(
          "SFBATCH_UNKNOWN_TABLE",
          s"'${arguments("table")}': expected db.table of the session catalog."
        )
    }
    val rows = procedure.run(session, Warehouses.of(session), table, arguments)
    if (procedure != Procedure.History) CachedReads.refresh(session, table)
    rows
  }
}
