package sfbatch

import java.util.concurrent.Executors
import scala.concurrent.{Await, ExecutionContext, Future}
import scala.concurrent.duration.Duration

/** Requests to a store, up to 16 at a time: on S3 each takes some 20 ms. Throws what the first that failed throws. */
private[sfbatch] object AtOnce {
  def map[A, B](items: Seq[A])(request: A => B): Seq[B] =
    if (items.size < 8) items.map(request)
    else {
      val pool = Executors.newFixedThreadPool(math.min(16, items.size))
      implicit val context: ExecutionContext = ExecutionContext.fromExecutor(pool)
      try Await.result(Future.sequence(items.map(item => Future(request(item)))), Duration.Inf)
      finally pool.shutdown()
    }
}
