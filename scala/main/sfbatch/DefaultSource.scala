package sfbatch

import org.apache.spark.sql.{DataFrame, SQLContext, SaveMode}
import org.apache.spark.sql.sfbatch.{NamedTable, SaveAsTableOverwrite}
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.sources.{BaseRelation, CreatableRelationProvider, DataSourceRegister, RelationProvider}
import org.apache.spark.sql.types.StructType

/** `format("sfbatch")`: names a table by `load("db.t")`, `save("db.t")` or option `table`. It reads and writes nothing
  * itself: the rules of [[SfBatchExtensions]] put the table's stock plan, or the write, in its place.
  */
class DefaultSource extends RelationProvider with CreatableRelationProvider with DataSourceRegister {
  SaveAsTableOverwrite.sourceMade()

  override def shortName(): String = "sfbatch"

  override def createRelation(context: SQLContext, parameters: Map[String, String]): BaseRelation =
    TableByName(
      context,
      parameters,
      context.sparkSession
        .table(NamedTable.ofRead(context.sparkSession.asInstanceOf[Session], parameters).mkString("`", "`.`", "`"))
        .schema
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
