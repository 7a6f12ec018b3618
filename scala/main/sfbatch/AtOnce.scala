package sfbatch

import java.util.concurrent.{ExecutionException, ExecutorCompletionService, Executors, Future, TimeUnit}

/** Requests to a store, up to 16 at a time: on S3 each takes some 20 ms.
  *
  * After the first that fails none is begun, and those under way are waited for, a minute at most: what they did is
  * known then. When the caller is interrupted, so are they. Throws what that first one threw.
  */
private[sfbatch] object AtOnce {
  def map[A, B](items: Seq[A], atOnceFrom: Int = 8)(request: A => B): Seq[B] =
    if (items.size < atOnceFrom) items.map(request)
    else {
      val pool = Executors.newFixedThreadPool(math.min(16, items.size))
      val ended = new ExecutorCompletionService[B](pool)
      val answers = items.toVector.map(item => ended.submit(() => request(item))) // no Stream: all at once
      def end(interrupt: Boolean): Unit = {
        answers.reverseIterator.foreach((_: Future[B]).cancel(interrupt)) // those that wait first
        pool.shutdown()
        pool.awaitTermination(1, TimeUnit.MINUTES)
        ()
      }
      try {
        answers.foreach(_ => ended.take().get())
        answers.map(_.get())
      } catch {
        case e: ExecutionException => end(interrupt = false); throw e.getCause
        case e: InterruptedException => end(interrupt = true); throw e
      } finally pool.shutdown()
    }
}
