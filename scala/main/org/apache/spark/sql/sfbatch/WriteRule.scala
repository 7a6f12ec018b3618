package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.catalyst.rules.Rule

/** Replaces Spark's inserts into our tables by [[BatchWriteCommand]]; must leave every other plan as it is. */
final case class WriteRule(session: SparkSession) extends Rule[LogicalPlan] {
  override def apply(plan: LogicalPlan): LogicalPlan = plan
}
