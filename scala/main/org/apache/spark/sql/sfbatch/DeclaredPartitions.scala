package org.apache.spark.sql.sfbatch

import _root_.sfbatch.{SfBatchException, Table}
import java.time.DateTimeException
import java.util.Locale
import org.apache.spark.SparkRuntimeException
import org.apache.spark.sql.AnalysisException
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.{
  And,
  Attribute,
  AttributeReference,
  Cast,
  EqualTo,
  Expression,
  Literal
}
import org.apache.spark.sql.catalyst.plans.logical.{Filter, LocalRelation, LogicalPlan, Project}
import org.apache.spark.sql.sfbatch.Shims.Session
import org.apache.spark.sql.types.IntegerType

/** Which partitions an overwrite said it would replace; a row outside them must stop the write before it is published.
  */
sealed trait DeclaredPartitions {

  /** Declared partitions that got no row, and so become empty. */
  def withoutRows(present: Iterable[Seq[String]], written: Set[Seq[String]]): Seq[Seq[String]]

  /** @throws SfBatchException SFBATCH_ROW_OUTSIDE_DECLARED */
  def check(written: Set[Seq[String]]): Unit
}

object DeclaredPartitions {
  def notInAppend =
    new SfBatchException("SFBATCH_BAD_OPTION", "replaceWhere needs mode overwrite: an append replaces nothing.")

  /** Only the partitions in the data are touched. */
  case object InData extends DeclaredPartitions {
    override def withoutRows(present: Iterable[Seq[String]], written: Set[Seq[String]]): Seq[Seq[String]] = Nil
    override def check(written: Set[Seq[String]]): Unit = ()
  }

  /** `PARTITION (date='x')` for every partition column, or an unpartitioned table: the rows cannot lie elsewhere. */
  final case class One(values: Seq[String]) extends DeclaredPartitions {
    override def withoutRows(present: Iterable[Seq[String]], written: Set[Seq[String]]): Seq[Seq[String]] =
      if (written(values)) Nil else Seq(values)
    override def check(written: Set[Seq[String]]): Unit = ()
  }

  /** Option `replaceWhere`. */
  final case class Where(session: Session, table: Table, predicate: String) extends DeclaredPartitions {
    private val columns = PartitionValues.attributes(table.partitionColumns)
    private val index = AttributeReference("__sfbatch_index", IntegerType, nullable = false)()
    private val parsed: Expression =
      try session.sessionState.sqlParser.parseExpression(predicate)
      catch { case e: AnalysisException => refuse(e) }
    if (!table.isPartitioned)
      bad(s"$table has no partitions to name; leave replaceWhere out, an overwrite replaces all of it.")
    matching(Nil) // a predicate that cannot be resolved is refused before the first byte
    evaluated(condition(Nil).foreach { // and a date that is none
      case cast: Cast if cast.child.isInstanceOf[Literal] => cast.eval(InternalRow.empty)
      case _ => ()
    })

    override def withoutRows(present: Iterable[Seq[String]], written: Set[Seq[String]]): Seq[Seq[String]] =
      (matching(present.toSeq) ++ named).distinct.filterNot(written)

    override def check(written: Set[Seq[String]]): Unit = {
      val outside = written -- matching(written.toSeq)
      if (outside.nonEmpty) {
        val shown = outside.toSeq.map(PartitionValues.show(table.partitionColumns, _)).sorted
        throw new SfBatchException(
          "SFBATCH_ROW_OUTSIDE_DECLARED",
          s"$table: rows lie outside replaceWhere '$predicate': ${shown.take(5).mkString(", ")}${if (shown.size > 5) s" and ${shown.size - 5} more partitions"
            else ""}. " +
            "Nothing was published. Filter the rows, or widen replaceWhere."
        )
      }
    }

    /** The one partition that `a = 1 AND b = 'x'` names when every partition column is there; it need not exist. */
    private def named: Option[Seq[String]] = {
      val equals = conjuncts(condition(Nil)).collect {
        case EqualTo(a: Attribute, e) if e.foldable => lower(a.name) -> e
        case EqualTo(e, a: Attribute) if e.foldable => lower(a.name) -> e
      }.toMap
      val texts = columns.map { c =>
        equals.get(lower(c.name)).map { e =>
          val value = evaluated(e.eval(InternalRow.empty))
          if (value == null) null else PartitionValues.text(value, e.dataType, c.dataType)
        }
      }
      if (texts.exists(t => t.isEmpty || t.contains(null))) None
      else Some(texts.map(_.get)).filter(v => matching(Seq(v)).nonEmpty)
    }

    private def conjuncts(condition: Expression): Seq[Expression] = condition match {
      case And(left, right) => conjuncts(left) ++ conjuncts(right)
      case one => Seq(one)
    }

    private def matching(candidates: Seq[Seq[String]]): Seq[Seq[String]] = {
      val filter = relation(candidates)
      val rows =
        evaluated {
          try session.sessionState.executePlan(Project(Seq(filter.output.last), filter)).executedPlan.executeCollect()
          catch { case e: AnalysisException => refuse(e) }
        }
      rows.toSeq.map(row => candidates(row.getInt(0)))
    }

    private def condition(candidates: Seq[Seq[String]]): Expression =
      session.sessionState.executePlan(relation(candidates)).analyzed.collectFirst { case f: Filter => f.condition }.get

    private def relation(candidates: Seq[Seq[String]]): LogicalPlan = {
      val rows = candidates.zipWithIndex.map { case (values, i) =>
        InternalRow.fromSeq(PartitionValues.row(values, columns).toSeq(columns.map(_.dataType)) :+ i)
      }
      Filter(parsed, LocalRelation(if (candidates.isEmpty) columns else columns :+ index, rows))
    }

    /** With ANSI on, Spark 4's default, a cast may fail. */
    private def evaluated[T](body: => T): T =
      try body
      catch {
        case e @ (_: DateTimeException | _: ArithmeticException | _: NumberFormatException |
            _: SparkRuntimeException) =>
          bad(s"replaceWhere '$predicate': ${e.getMessage.linesIterator.next()}")
      }

    private def lower(name: String): String = name.toLowerCase(Locale.ROOT)
    private def refuse(e: AnalysisException): Nothing =
      bad(
        s"replaceWhere '$predicate' must be a condition on ${columns.map(_.name).mkString(", ")} alone: ${e.getSimpleMessage}"
      )
    private def bad(detail: String): Nothing = throw new SfBatchException("SFBATCH_BAD_OPTION", detail)
  }
}
