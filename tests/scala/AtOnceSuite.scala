package sfbatch

import java.util.concurrent.{CountDownLatch, TimeUnit}
import java.util.concurrent.atomic.AtomicInteger

class AtOnceSuite extends Patient {
  test("answers come in the order of the items, a lazy sequence's too") {
    val all = new CountDownLatch(10) // ends only if all are asked at once
    def answer(i: Int) = {
      all.countDown()
      assert(all.await(30, TimeUnit.SECONDS))
      i * 2
    }
    assertEquals(AtOnce.map(Iterator.range(1, 11).toSeq)(answer), (2 to 20 by 2).toVector)
  }

  test("what the first that failed threw is thrown, those under way have ended by then, and no other is begun") {
    for (failure <- Seq(new java.io.IOException("full"), new OutOfMemoryError("not really"))) {
      val (begun, under, underWay) = (new AtomicInteger, new AtomicInteger, new CountDownLatch(15))
      def request(i: Int): Unit = {
        begun.incrementAndGet()
        if (i == 1) {
          assert(underWay.await(30, TimeUnit.SECONDS))
          throw failure
        }
        under.incrementAndGet()
        underWay.countDown()
        Thread.sleep(300)
        under.decrementAndGet(); ()
      }
      val thrown =
        try { AtOnce.map(1 to 1000)(request); None }
        catch { case e: Throwable => Some(e) }
      assertEquals(thrown, Some(failure))
      assertEquals(under.get, 0)
      assert(begun.get < 1000, begun.get)
    }
  }

  test("with the caller's interrupt those under way are interrupted, and none is left") {
    val (under, interrupted) = (new CountDownLatch(16), new AtomicInteger)
    @volatile var ended = false
    val caller = new Thread(() =>
      try
        AtOnce.map(1 to 100) { _ =>
          under.countDown()
          try Thread.sleep(60000)
          catch { case e: InterruptedException => interrupted.incrementAndGet(); throw e }
        }
      catch { case _: InterruptedException => ended = true }
    )
    caller.start()
    assert(under.await(30, TimeUnit.SECONDS))
    caller.interrupt()
    caller.join(30000)
    assert(ended)
    assertEquals(interrupted.get, 16)
  }
}
