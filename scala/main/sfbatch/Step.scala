package sfbatch

import java.nio.file.{Files, Paths}

/** The steps of the protocol as a process passes them: logged at DEBUG, and the places where tests kill or pause it.
  *
  * `SFBATCH_TEST_AT_STEP=<step>=halt|stop|hang[:<n>]`: at the n-th passing (default 1) of that step the process dies as
  * by `kill -9`, or stops as by `kill -STOP`; `hang`: from the n-th passing on the thread that passes sleeps for ever,
  * and the others go on.
  */
private[sfbatch] object Step {
  private val log = org.slf4j.LoggerFactory.getLogger("sfbatch.Step")
  private val fault = sys.env.get("SFBATCH_TEST_AT_STEP").map(_.split("[=:]")).collect {
    case Array(step, action) => (step, action, 1)
    case Array(step, action, n) => (step, action, n.toInt)
  }
  private val passed = new java.util.concurrent.atomic.AtomicInteger

  def apply(step: String, what: => Any): Unit = {
    if (log.isDebugEnabled) log.debug(s"$step: $what")
    fault.foreach { case (at, action, n) =>
      if (at == step) {
        val times = passed.incrementAndGet()
        action match {
          case "halt" => if (times == n) Runtime.getRuntime.halt(137)
          case "stop" =>
            if (times == n) {
              // To the process by the name of this thread, which Linux then stops first; elsewhere it may go on for a while.
              val thread = scala.util.Try(Files.readSymbolicLink(Paths.get("/proc/thread-self")).getFileName.toString)
              val name = thread.getOrElse(ProcessHandle.current.pid.toString)
              new ProcessBuilder("kill", "-STOP", name).start().waitFor()
              Thread.sleep(500)
            }
          case "hang" => if (times >= n) { System.err.println(s"hangs at $step"); Thread.sleep(Long.MaxValue) }
          case other =>
            throw new IllegalArgumentException(s"SFBATCH_TEST_AT_STEP: '$other' is none of halt, stop, hang")
        }
      }
    }
  }
}
