package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException
import java.util.Locale
import org.apache.spark.sql.catalyst.analysis.UnresolvedAttribute
import org.apache.spark.sql.catalyst.expressions.{Expression, NamedArgumentExpression}
import org.apache.spark.sql.catalyst.plans.logical.{LeafCommand, LogicalPlan}
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types.{BooleanType, DateType, IntegralType, StringType, TimestampType}

/** A parsed `CALL sfbatch.<procedure>(...)` whose arguments Spark may still have to resolve (parameter markers,
  * current_date()).
  */
final case class Call(procedure: Procedure, names: Seq[String], values: Seq[Expression]) extends LeafCommand {
  override lazy val resolved: Boolean = false
}

object Call {
  def of(name: String, arguments: Seq[Expression]): Call = {
    val procedure = Procedure.all
      .find(_.name == name.toLowerCase(Locale.ROOT))
      .getOrElse(
        throw bad(s"there is no procedure '$name'. Known: ${Procedure.all.map(_.signature).mkString("; ")}", None)
      )
    def wrong(why: String) = throw bad(s"$why. Usage: CALL ${procedure.signature}", None)
    val (positional, named) = arguments.span(!_.isInstanceOf[NamedArgumentExpression])
    if (positional.size > procedure.parameters.size) wrong(s"${arguments.size} arguments are too many")
    val bound = procedure.parameters.map(_.name).zip(positional) ++ named.map {
      case NamedArgumentExpression(key, value) =>
        procedure.parameters.find(_.name.equalsIgnoreCase(key)).getOrElse(wrong(s"'$key' is no argument")).name -> value
      case other => wrong(s"'${other.sql}' comes after a named argument: name it too")
    }
    bound.groupBy(_._1).collectFirst { case (key, same) if same.size > 1 => wrong(s"'$key' is given twice") }
    procedure.parameters
      .find(p => p.required && !bound.exists(_._1 == p.name))
      .foreach(p => wrong(s"'${p.name}' is missing"))
    bound.foreach { case (key, value) =>
      value.foreach {
        case a: UnresolvedAttribute => wrong(s"$key => ${a.name}: put the value in quotes, '${a.name}'")
        case _ =>
      }
    }
    Call(procedure, bound.map(_._1), bound.map(_._2))
  }

  def bad(detail: String, cause: Option[Throwable]): SfBatchException =
    new SfBatchException("SFBATCH_BAD_CALL", s"$detail.", cause.orNull)
}

/** A statement that is refused as soon as Spark analyses it. */
final case class Refused(why: SfBatchException) extends LeafCommand {
  override lazy val resolved: Boolean = false
}

/** Turns a [[Call]] with known arguments into its command. */
final case class CallRule(session: Session) extends Rule[LogicalPlan] {
  override def apply(plan: LogicalPlan): LogicalPlan = plan.resolveOperators {
    case Refused(why) => throw why
    case Call(procedure, names, values) if values.forall(_.resolved) =>
      ProcedureCommand(
        procedure,
        names.zip(values).map { case (key, value) => key -> valueOf(procedure, key, value) }.toMap
      )
  }

  /** NULL is refused, not left out: a rollback of the partition `:p`, never set, would be one of the whole table. */
  private def valueOf(procedure: Procedure, key: String, value: Expression): String = {
    val accepts = procedure.parameters.find(_.name == key).get.accepts
    val fits = (accepts, value.dataType) match {
      case (_, _: StringType) => accepts != "boolean"
      case ("string", _: IntegralType | TimestampType | DateType) => true
      case ("integer", _: IntegralType) => true
      case ("boolean", BooleanType) => true
      case _ => false
    }
    if (!value.foldable)
      throw Call.bad(s"$key => ${value.sql} is not a constant. Usage: CALL ${procedure.signature}", None)
    if (value.eval() == null)
      throw Call.bad(s"$key => NULL: it needs a value. Usage: CALL ${procedure.signature}", None)
    if (!fits)
      throw Call.bad(
        s"$key => ${value.sql} is of type ${value.dataType.sql}, expected $accepts. Usage: CALL ${procedure.signature}",
        None
      )
    org.apache.spark.sql.catalyst.expressions.Cast(value, StringType, Some(conf.sessionLocalTimeZone)).eval().toString
  }
}
