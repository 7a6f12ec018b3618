package org.apache.spark.sql.sfbatch

import java.lang.reflect.InvocationTargetException
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan

/** Calls of Spark's that a later Spark, a patch release even, gave more parameters: found by name when they are made,
  * so that one jar runs on all of them; must throw what the call throws.
  *
  * `Later.call(InsertIntoStatement, "apply", ...)`: what it has beyond the arguments given takes Spark's default, which
  * the Scala compiler keeps as a method `apply$default$<n>` beside it. Of `copy` the default is what the object has.
  */
object Later {
  def call[T](target: AnyRef, name: String, arguments: Any*): T = callOf(target.getClass, target, name, arguments: _*)

  /** A method of `interface`: looking at all of a class of ours would load types that this Spark has not. */
  def callOf[T](interface: Class[_], target: AnyRef, name: String, arguments: Any*): T = {
    val method = interface.getMethods
      .filter(m => m.getName == name && m.getParameterCount >= arguments.size && !m.isBridge)
      .minBy(_.getParameterCount)
    val more = (arguments.size until method.getParameterCount).map(default(target, name, _))
    try method.invoke(target, (arguments ++ more).map(_.asInstanceOf[AnyRef]): _*).asInstanceOf[T]
    catch { case e: InvocationTargetException => throw e.getCause }
  }

  /** The fields from `known` on that are not as by default: what a statement says that 4.0 could not say. */
  def unknown(statement: LogicalPlan, companion: AnyRef, known: Int): Seq[String] =
    (known until statement.productArity)
      .filter(i => statement.productElement(i) != default(companion, "apply", i))
      .map(call[String](statement, "productElementName", _))

  private def default(target: AnyRef, name: String, index: Int): AnyRef =
    target.getClass.getMethod(s"$name$$default$$${index + 1}").invoke(target)
}
