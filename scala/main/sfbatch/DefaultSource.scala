package sfbatch

import org.apache.spark.sql.{AnalysisException, DataFrame, SQLContext, SaveMode}
import org.apache.spark.sql.execution.streaming.Sink
import org.apache.spark.sql.sfbatch.{NamedTable, SaveAsTableOverwrite}
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.sources.{
  BaseRelation,
  CreatableRelationProvider,
  DataSourceRegister,
  RelationProvider,
  StreamSinkProvider
}
import org.apache.spark.sql.streaming.OutputMode
import org.apache.spark.sql.types.StructType

/** `format("sfbatch")`: names a table by `load("db.t")`, `save("db.t")` or option `table`. It reads and writes nothing
  * itself: the rules of [[SfBatchExtensions]] put the table's stock plan, or the write, in its place.
  */
class DefaultSource
    extends RelationProvider
    with CreatableRelationProvider
    with StreamSinkProvider
    with DataSourceRegister {
  SaveAsTableOverwrite.sourceMade()

  override def shortName(): String = "sfbatch"

  override def createRelation(context: SQLContext, parameters: Map[String, String]): BaseRelation = {
    val session = context.sparkSession.asInstanceOf[Session]
    val name = NamedTable.ofRead(session, parameters)
    val schema =
      try session.table(name.quotedString).schema
      catch {
        case _: AnalysisException if !session.sessionState.catalog.tableExists(name) =>
          throw Errors.unknownTable(name.database.get, name.table)
      }
    TableByName(context, parameters, schema)
  }

  override def createSink(
      context: SQLContext,
      parameters: Map[String, String],
      partitionColumns: Seq[String],
      outputMode: OutputMode
  ): Sink =
    throw new SfBatchException(
      "SFBATCH_UNSUPPORTED",
      "a stream writes by foreachBatch: batch.write.format('sfbatch').mode('append').option('txnAppId', <name of the stream>).option('txnVersion', batch_id).save('db.table') publishes each batch once."
    )

  override def createRelation(
      context: SQLContext,
      mode: SaveMode,
      parameters: Map[String, String],
      data: DataFrame
  ): BaseRelation =
    throw new SfBatchException(
      "SFBATCH_NOT_CONFIGURED",
      "this session cannot write sfbatch tables: set spark.sql.extensions=sfbatch.SfBatchExtensions before it starts " +
        "(in Python: sfbatch.configure_spark(builder))."
    )
}

/** Stands for the table until the rule replaces it. */
final case class TableByName(sqlContext: SQLContext, parameters: Map[String, String], schema: StructType)
    extends BaseRelation
