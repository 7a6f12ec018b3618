package org.apache.spark.sql.sfbatch

import _root_.sfbatch.SfBatchException
import org.apache.spark.sql.catalyst.{FunctionIdentifier, TableIdentifier}
import org.apache.spark.sql.catalyst.analysis.UnresolvedFunction
import org.apache.spark.sql.catalyst.expressions.Expression
import org.apache.spark.sql.catalyst.parser.{ParseException, ParserInterface}
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types.{DataType, StructType}
import scala.annotation.tailrec

/** Knows `CALL sfbatch.<procedure>(...)`; every other text must reach the parser below untouched.
  *
  * Spark 3.5 has no CALL, but its expression parser reads `sfbatch.history(table => 'db.t')` as a function with named
  * arguments.
  */
final class SfBatchParser(session: Session, override val delegate: ParserInterface) extends Shims.Parser {
  override def parsePlan(sqlText: String): LogicalPlan = parsed(sqlText, delegate.parsePlan(sqlText))

  override protected def parsed(sqlText: String, byDelegate: => LogicalPlan): LogicalPlan = sqlText match {
    case SfBatchParser.Call(procedure) => later(parseCall(procedure))
    case _ =>
      val plan = byDelegate
      later(ParsedGuards.rewrite(session, plan))
  }

  /** Delta's parser, when it is outside, replaces every exception of a parser below it by one of its own (delta-spark
    * 3.3.2).
    */
  private def later(plan: => LogicalPlan): LogicalPlan =
    try plan
    catch { case refused: SfBatchException => Refused(refused) }

  private def parseCall(text: String): LogicalPlan = {
    val call =
      try delegate.parseExpression(text)
      catch { case e: ParseException => throw Call.bad(s"CALL $text is not a call: ${e.getMessage.trim}", Some(e)) }
    call match {
      case f: UnresolvedFunction if f.nameParts.size == 2 && !f.isDistinct && f.filter.isEmpty =>
        Call.of(f.nameParts.last, f.arguments)
      case _ => throw Call.bad(s"CALL $text is not a call of one procedure", None)
    }
  }

  override def parseMultipartIdentifier(sqlText: String): Seq[String] = {
    val parts = delegate.parseMultipartIdentifier(sqlText)
    WriteTo.checkCatalog(session, parts)
    parts
  }

  override def parseExpression(sqlText: String): Expression = delegate.parseExpression(sqlText)
  override def parseTableIdentifier(sqlText: String): TableIdentifier = delegate.parseTableIdentifier(sqlText)
  override def parseFunctionIdentifier(sqlText: String): FunctionIdentifier = delegate.parseFunctionIdentifier(sqlText)
  override def parseQuery(sqlText: String): LogicalPlan = delegate.parseQuery(sqlText)
  override def parseTableSchema(sqlText: String): StructType = delegate.parseTableSchema(sqlText)
  override def parseDataType(sqlText: String): DataType = delegate.parseDataType(sqlText)
}

object SfBatchParser {
  private val call = """(?is)CALL\s++(`?sfbatch`?\s*+\..*)""".r

  private object Call {
    def unapply(sqlText: String): Option[String] = {
      val start = afterComments(sqlText, 0)
      if (!sqlText.regionMatches(true, start, "CALL", 0, 4)) None
      else
        sqlText.substring(start, sqlText.lastIndexWhere(c => !isBlank(c) && c != ';') + 1) match {
          case call(procedure) => Some(procedure)
          case _ => None
        }
    }
  }

  /** Where the statement begins. In one pass, as every text of the session comes by. */
  @tailrec private def afterComments(text: String, from: Int): Int =
    if (from < text.length && isBlank(text.charAt(from))) afterComments(text, from + 1)
    else if (text.startsWith("--", from)) afterComments(text, endOfLine(text, from))
    else if (text.startsWith("/*", from)) afterComments(text, endOfComment(text, from + 2, depth = 1))
    else from

  private def isBlank(c: Char): Boolean = Character.isWhitespace(c)

  private def endOfLine(text: String, from: Int): Int = text.indexOf('\n', from) match {
    case -1 => text.length
    case end => end + 1
  }

  /** A comment may hold comments (Spark's BRACKETED_COMMENT), and so a CALL that is not to be run. */
  @tailrec private def endOfComment(text: String, from: Int, depth: Int): Int =
    if (depth == 0 || from >= text.length) from.min(text.length)
    else if (text.startsWith("*/", from)) endOfComment(text, from + 2, depth - 1)
    else if (text.startsWith("/*", from)) endOfComment(text, from + 2, depth + 1)
    else endOfComment(text, from + 1, depth)
}
