package sfbatch

import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.sfbatch.{
  CallRule,
  CreateTableRule,
  Guards,
  SfBatchParser,
  SourceRule,
  Warehouses,
  WriteRule,
  WriteTo
}
import org.apache.spark.sql.sfbatch.Shims.Session

/** `spark.sql.extensions=sfbatch.SfBatchExtensions`: everything sfbatch adds to a session; must leave other tables
  * alone.
  */
class SfBatchExtensions extends (SparkSessionExtensions => Unit) {
  override def apply(extensions: SparkSessionExtensions): Unit = {
    Warehouses.ensureMetastore()
    extensions.injectParser((session, delegate) => new SfBatchParser(session.asInstanceOf[Session], delegate))
    extensions.injectResolutionRule(session => CallRule(session.asInstanceOf[Session]))
    extensions.injectResolutionRule(session => WriteTo(session.asInstanceOf[Session]))
    extensions.injectResolutionRule(session => SourceRule(session.asInstanceOf[Session]))
    extensions.injectResolutionRule(session => CreateTableRule(session.asInstanceOf[Session]))
    extensions.injectResolutionRule(session => Guards(session.asInstanceOf[Session]))
    extensions.injectResolutionRule(session => WriteRule(session.asInstanceOf[Session]))
  }
}
