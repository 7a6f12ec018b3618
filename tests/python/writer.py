"""A driver without a Spark session: a JVM of its own with sfbatch, in which a test writes and publishes batches; it can be armed to die.

Starts in a second where a PySpark driver takes eight, so that a test can afford one for every fault. Same code from claim to publish as
a Spark write; the data files, text, are written by the test itself.
"""

import logging
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from jvm import QUICK
from py4j.java_gateway import GatewayParameters, JavaGateway
from py4j.protocol import Py4JError, Py4JJavaError
from sfbatch.installed import installed_spark
from sfbatch.local_metastore import java
from sfbatch.spark import jar_path

# It tells of every connection that a kill cuts.
logging.getLogger("py4j").setLevel(logging.CRITICAL)

JAVA = java()
COLUMNS = [("id", "bigint"), ("item", "string")]
SMALL = ["-Xmx256m", "-Dderby.stream.error.file=/dev/null", "-Djava.net.preferIPv4Stack=true"]
OPENS = [
    f"--add-opens=java.base/{name}=ALL-UNNAMED"
    for name in (
        "java.lang",
        "java.lang.invoke",
        "java.lang.reflect",
        "java.io",
        "java.net",
        "java.nio",
        "java.util",
        "sun.nio.ch",
    )
]


class Refusal(Exception):  # noqa: N818
    """An SfBatchException: its code, its message."""

    def __init__(self, message):
        super().__init__(message)
        found = re.search(r"\[(SFBATCH_\w+)\]", message)
        self.code = found[1] if found else message[:300]


#: What they test is the same code on both Sparks, and they are slow.
on_one_spark = pytest.mark.skipif(installed_spark().line != "3.5", reason="slow; runs on Spark 3.5 only")


class Died(Exception):  # noqa: N818
    """The JVM was killed while it worked for us."""


class Writer:
    """One JVM. `writer.overwrite("db.t", {"20161001": [(1, "a")]})`; `at="journalled=hang"` arms it."""

    def __init__(self, uri, *, at=None, user="ada", uid=None, **conf):
        self.at, self.killed = at, False
        env = {key: value for key, value in os.environ.items() if not key.startswith("SFBATCH_")}
        jars = installed_spark().jars
        command = [
            JAVA,
            *QUICK,
            *SMALL,
            *OPENS,
            "-cp",
            f"{jars.parent}/conf:{jars}/*:{jar_path()}",  # begins as a session's: the archive of classes fits
            "py4j.GatewayServer",
            "--die-on-broken-pipe",
            "0",
        ]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command, env={**env, **({"SFBATCH_TEST_AT_STEP": at} if at else {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True, start_new_session=True, cwd="/", user=uid, umask=0o022,
        )  # fmt: skip
        self._uri, self._user, self._conf = uri, user, conf
        self._gateway = None
        self._opening = threading.Lock()

    @property
    def jvm(self):
        with self._opening:
            if self._gateway is None:
                line = self.process.stdout.readline()
                if not line:
                    raise RuntimeError(self.log())
                # Or a garbage collection here would wait for a JVM that is stopped.
                self._gateway = JavaGateway(
                    gateway_parameters=GatewayParameters(
                        port=int(line), auto_convert=True, enable_memory_management=False
                    )
                )
                self._warehouse = self._open(self._gateway.jvm)
            return self._gateway.jvm

    @property
    def warehouse(self):
        return self.jvm and self._warehouse

    def _open(self, jvm):
        jvm.org.apache.logging.log4j.core.config.Configurator.setRootLevel(jvm.org.apache.logging.log4j.Level.WARN)
        conf = jvm.org.apache.hadoop.conf.Configuration()
        settings = {"hive.metastore.uris": self._uri, "sfbatch.lock.heartbeat-ms": "400", **self._conf}
        for key, value in settings.items():
            conf.set(key, value)
        none = jvm.scala.Option.apply(None)
        return jvm.sfbatch.HiveWarehouse(conf, jvm.sfbatch.Caller(self._user, "host", none, none))

    def log(self):
        # The writer has the same offset: after a seek its next line would lie over the first.
        return os.pread(self._log.fileno(), 1 << 24, 0).decode()

    # --- what a driver does ---

    def create(self, name, partitions=("day",), location=None):
        jvm, (database, table) = self.jvm, name.split(".")
        text = jvm.sfbatch.Format.of("text").get()
        spec = jvm.sfbatch.TableSpec(
            database, table, text, text.storage(), jvm.sfbatch.PartitionStyle.of("value"), self._columns(COLUMNS),
            self._columns([(column, "string") for column in partitions]), self._option(location and jvm.org.apache.hadoop.fs.Path(str(location))),
            self._option(None), jvm.scala.collection.immutable.HashMap(),
        )  # fmt: skip
        return self._try(lambda: self.warehouse.create(spec))

    def adopt(self, name):
        return self._try(lambda: self.warehouse.adopt(*name.split(".")))

    def overwrite(self, name, partitions, **options):
        return self.begin(name, **options).publish(partitions)

    def append(self, name, partitions, **options):
        return self.begin(name, append=True, **options).publish(partitions)

    def begin(self, name, *, append=False, txn=None):
        """A claimed batch. Its `publish` may be called later; None when the txn is published already."""
        return Batch(self, name, append, txn)

    def recover(self, name):
        """(versions finished, versions aborted, partitions re-asserted)"""
        done = self._try(lambda: self.warehouse.recover(self.table(name)))
        return tuple(
            [seq.apply(i) for i in range(seq.size())] for seq in (done.finished(), done.aborted(), done.reasserted())
        )

    def rollback(self, name, to):
        return self._try(lambda: self.warehouse.rollback(self.table(name), str(to), self._option(None), False))

    def drop(self, name, *values):
        return self._try(
            lambda: self.warehouse.dropPartitions(self.table(name), self._seq([self._seq([value]) for value in values]))
        )

    def history(self, name):
        """(version, operation) from the first on."""
        rows = self._try(lambda: self.warehouse.history(self.table(name), self._option(None), 100000))
        return sorted({(rows.apply(i).version(), rows.apply(i).operation()) for i in range(rows.size())})

    def table(self, name):
        _ = self.jvm
        return self._try(lambda: self.warehouse.table(*name.split(".")))

    # --- how it ends ---

    def wait_until_stopped(self, timeout_s=240):
        """Until the whole process is stopped, as `at="...=stop"` does."""
        wait_for(lambda: is_stopped(self.process.pid), timeout_s, self)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self):
        self.killed = True
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._gateway:
            self._gateway.close()
        self.process.stdin.close()
        self.process.stdout.close()
        self._log.close()

    # --- Scala ---

    def _try(self, call):
        try:
            return call()
        except Exception as error:
            # PySpark, once it has a session, takes every JVM's exceptions for its own and asks the wrong JVM about them.
            java = next((e for e in (error, error.__context__) if isinstance(e, Py4JJavaError)), None)
            if java is not None:
                thrown = java.java_exception
                while thrown.getCause() is not None and "SfBatchException" not in thrown.getClass().getName():
                    thrown = thrown.getCause()
                raise Refusal(thrown.toString()) from error
            if isinstance(error, Py4JError | OSError) and (self.killed or self._ended()):
                raise Died(self.at) from error
            raise

    def _ended(self):
        """The connection is cut a moment before the process is gone."""
        try:
            return self.process.wait(60) is not None
        except subprocess.TimeoutExpired:
            return False

    def _seq(self, items):
        jvm = self.jvm
        made = jvm.java.util.ArrayList()
        for item in items:
            made.add(item)
        return jvm.scala.collection.JavaConverters.asScalaBufferConverter(made).asScala().toList()

    def _columns(self, columns):
        return self._seq([self.jvm.sfbatch.Column(name, kind, self._option(None)) for name, kind in columns])

    def _option(self, value):
        return self.jvm.scala.Option.apply(value)

    def _long(self, value):
        # A Python int becomes a java.lang.Integer; Scala's Option[Long] wants the other.
        return self.jvm.java.util.stream.LongStream.of(self._longs(value)).boxed()

    def _longs(self, value):
        array = self._gateway.new_array(self._gateway.jvm.long, 1)
        array[0] = value
        return array

    def _some_long(self, value):
        boxed = self._long(value).collect(self.jvm.java.util.stream.Collectors.toList())
        return self.jvm.scala.collection.JavaConverters.asScalaBufferConverter(boxed).asScala().headOption()


class Batch:
    """A write between its claim and its publish."""

    def __init__(self, writer, name, append, txn):
        self._writer = writer
        jvm, none = writer.jvm, writer._option(None)
        self._append = append
        mark = writer._option(txn and jvm.sfbatch.Txn(txn[0], txn[1]))
        options = jvm.sfbatch.WriteOptions(append, none, mark, none)
        begun = writer._try(lambda: writer.warehouse.begin(writer.table(name), options))
        self._write = begun.right().get() if begun.isRight() else None
        self.published_before = self._write is None
        self.batch_id = None if self.published_before else self._write.batchId().value()

    def _directory(self, values, batch_id):
        path = self._writer.jvm.sfbatch.PartitionPath.batch(self._write.table(), self._writer._seq(values), batch_id)
        return Path(path.toUri().getPath())

    def publish(self, partitions):
        """{value: [(id, item)]}, or {(): [...]} of an unpartitioned table -> the version, None when nothing was to do."""
        if self.published_before:
            return None
        jvm, writer = self._writer.jvm, self._writer
        bases = {key: self._current(key) for key in partitions} if self._append else {}
        batch, outcome = self._write.batchId(), None
        while outcome is None or outcome.getClass().getSimpleName() == "BaseMoved":
            if outcome is not None:
                batch = writer._try(self._write.claimAnother)
                moved = outcome.now()
                # `get`, as `apply` of a list is also the one that makes a map.
                found = {key: moved.get(self._values(key)) for key in partitions}
                bases.update({key: option.get() for key, option in found.items() if option.isDefined()})
            written = []
            for key, rows in partitions.items():
                base = bases.get(key) or writer._option(None)
                copied = (
                    self._text(self._directory(self._list(key), base.get().batchId().get())) if base.isDefined() else ""
                )
                text = copied + "".join(f"{number}\x01{item}\n" for number, item in rows)
                folder = self._directory(self._list(key), batch)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "part-0").write_text(text)
                written.append(
                    jvm.sfbatch.Written(
                        self._values(key), batch, 1, len(text.encode()), writer._some_long(text.count("\n")), base
                    )
                )  # fmt: skip
            outcome = writer._try(lambda written=written: self._write.publish(writer._seq(written)))
        version = outcome.version() if outcome.getClass().getSimpleName() == "Published" else writer._option(None)
        return version.get() if version.isDefined() else None

    def _current(self, key):
        return self._write.current().get(self._values(key))

    @staticmethod
    def _list(key):
        return list(key) if isinstance(key, tuple) else [key]

    def _values(self, key):
        return self._writer._seq(self._list(key))

    @staticmethod
    def _text(folder):
        return "".join(file.read_text() for file in sorted(folder.iterdir()) if not file.name.startswith(("_", ".")))


def is_stopped(pid):
    """Whether each thread of the process has stopped: by a signal one does, and then the others."""
    try:
        stats = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has ended
        return False
    return bool(stats) and all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def wait_for(condition, timeout_s=240, writer=None):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if writer and writer.process.poll() is not None:
            raise Died(writer.log()[-2000:])
        assert time.monotonic() < deadline, f"it did not happen\n{writer.log()[-3000:] if writer else ''}"
        time.sleep(0.02)
