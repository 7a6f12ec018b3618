package sfbatch

import java.util.concurrent.Executors
import scala.concurrent.{Await, ExecutionContext, Future}
import scala.concurrent.duration.Duration

/** Requests to a store, up to 16 at a time: on S3 each takes some 20 ms. Throws what the first that failed throws. */
private[sfbatch] object AtOnce {
  def map[A, B](items: Seq[A], atOnceFrom: Int = 8)(request: A => B): Seq[B] =
    if (items.size < atOnceFrom) items.map(request)
    else {
      val pool = Executors.newFixedThreadPool(math.min(16, items.size))
      implicit val context: ExecutionContext = ExecutionContext.fromExecutor(pool)
      // A Future that ends with a fatal error, as OutOfMemoryError, never ends: such go by hand.
      def tried(item: A): Either[Throwable, B] =
        try Right(request(item))
        catch { case e: Throwable => Left(e) }
      try
        Await
          .result(Future.sequence(items.map(item => Future(tried(item)))), Duration.Inf)
          .map(_.fold(throw _, identity))
      finally pool.shutdown()
    }
}
