package sfbatch

import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.sfbatch.WriteRule

/** `spark.sql.extensions=sfbatch.SfBatchExtensions`: everything sfbatch adds to a session; must leave other tables alone. */
class SfBatchExtensions extends (SparkSessionExtensions => Unit) {
  override def apply(extensions: SparkSessionExtensions): Unit = {
    extensions.injectPostHocResolutionRule(WriteRule(_))
  }
}
