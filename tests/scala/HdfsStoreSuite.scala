package sfbatch

import java.io.IOException
import java.nio.file.Files
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{Path, RawLocalFileSystem}

/** What HDFS's store says when a rename does not answer. Local disk with HDFS's rename; `make test-hdfs` has HDFS. */
class HdfsStoreSuite extends Patient {
  private val root = new Path(Files.createTempDirectory("sfbatch-hdfs").toUri)
  private val bytes = "mine".getBytes

  /** The first rename is made or not, and says neither; `down`: from then on nothing answers. */
  private class Faulty(made: Boolean, down: Boolean = false) extends RawLocalFileSystem {
    private var failed = false
    override def rename(from: Path, to: Path): Boolean =
      if (failed) !exists(to) && super.rename(from, to)
      else {
        if (made) super.rename(from, to)
        failed = true
        throw new IOException("no answer\n\tat its server")
      }
    override def delete(path: Path, recursive: Boolean): Boolean =
      if (failed && down) throw new IOException("still no answer") else super.delete(path, recursive)
  }

  private def store(fs: Faulty) = { fs.initialize(root.toUri, new Configuration); new HdfsStore(fs) }

  test("a rename that was made without an answer is its creator's, and nobody else's") {
    val path = new Path(root, "made")
    val tried = store(new Faulty(made = true))
    assert(tried.createExclusive(path, bytes))
    assert(!tried.createExclusive(path, "another".getBytes))
    assertEquals(tried.read(path).map(_.toSeq), Some(bytes.toSeq))
  }

  test("a rename that was not made is a failure, once its source is gone, and leaves the name free") {
    val path = new Path(root, "free")
    val tried = store(new Faulty(made = false))
    val failure = intercept[SfBatchException](tried.createExclusive(path, bytes))
    assertEquals(failure.code, "SFBATCH_STORE_FAILED")
    assert(!failure.getMessage.contains("at its server"), failure.getMessage) // the stack of the other side
    assertEquals(tried.list(root).map(_.getPath.getName).filter(_.contains("free")), Nil)
    assert(tried.createExclusive(path, bytes))
  }

  test("while nothing answers it may still be made") {
    val failure =
      intercept[SfBatchException](
        store(new Faulty(made = false, down = true)).createExclusive(new Path(root, "x"), bytes)
      )
    assert(failure.getCause.isInstanceOf[NoAnswer], failure.getCause)
  }
}
