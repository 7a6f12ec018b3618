package org.apache.spark.sql.sfbatch

import org.apache.spark.sql.{Row, SparkSession}
import org.apache.spark.sql.execution.command.LeafRunnableCommand
import org.apache.spark.sql.sfbatch.Shims.Session

/** A command that sees the session's state, which Spark 4.0 keeps from `RunnableCommand.run`. */
trait SessionCommand extends LeafRunnableCommand {
  protected def act(session: Session): Seq[Row]
  final override def run(session: SparkSession): Seq[Row] = act(session.asInstanceOf[Session])
}
