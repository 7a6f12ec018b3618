package sfbatch

import java.util
import org.apache.spark.sql.connector.catalog.{
  DelegatingCatalogExtension,
  Identifier,
  Table => SparkTable,
  TableWritePrivilege
}
import org.apache.spark.sql.sfbatch.WritableTable

/** `spark.sql.catalog.spark_catalog=sfbatch.SfBatchCatalog`: lets `df.writeTo` pass to our tables; must change nothing
  * else.
  */
class SfBatchCatalog extends DelegatingCatalogExtension {
  override def loadTable(name: Identifier, writePrivileges: util.Set[TableWritePrivilege]): SparkTable =
    WritableTable.of(super.loadTable(name, writePrivileges))
}
