"""The writers of `make test-faults`: eight processes with a Spark each, that are killed and started again as the plan says."""

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

DRIVER = Path(__file__).with_name("driver.py")
TRIES, PATIENCE_S = 12, 600


class Hung(Exception):  # noqa: N818
    """A writer did not answer."""


class WriterProcess:
    """`do(op)`: "done", "failed", or "killed" when it was killed first; `ledger` is its file of intents and outcomes."""

    def __init__(self, number, folder, settings):
        self._folder, self._number, self._settings = folder, number, settings
        self.ledger = folder / f"writer-{number}.jsonl"
        self._process, self.owed, self.deaths = None, [], 0

    def do(self, op, kill_after_s=None):
        if self._process is None:
            self._start()
        try:
            self._process.stdin.write(json.dumps(op).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._line(PATIENCE_S if kill_after_s is None else kill_after_s)
        except BrokenPipeError:
            answer = ""
        if answer is None and kill_after_s is None:
            raise Hung(f"writer {self._number} has not answered for {PATIENCE_S} s: {op}")
        if answer is None:
            self.kill()
            return "killed"
        if not answer:
            self.deaths += 1
            self.kill()
            return "died"
        return answer

    def _start(self):
        # The options of the tests' other JVMs name another archive of classes.
        env = {
            **os.environ,
            "SPARK_SUBMIT_OPTS": "",
            "SFBATCH_USER": f"writer-{self._number}",
        }
        answers, from_child = os.pipe()  # on stdout the JVM says what it likes
        with (self._folder / f"writer-{self._number}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(DRIVER), str(self.ledger), str(from_child), str(self._settings)], env=env, cwd=self._folder, stdin=subprocess.PIPE,
                stdout=log, stderr=log, start_new_session=True, pass_fds=[from_child],
            )  # fmt: skip
        os.close(from_child)
        self._answers = os.fdopen(answers)
        assert self._line(PATIENCE_S) == "ready", f"writer {self._number} did not start: see its log"

    def _line(self, timeout_s):
        """A line without its end; "" when the process is gone, None when the time is over."""
        ready, _, _ = select.select([self._answers], [], [], timeout_s)
        return self._answers.readline().strip() if ready else None

    def kill(self):
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process.stdin.close()
            self._answers.close()
            self._process = None

    def end(self):
        """It ends by itself, and its JVM writes what it has to."""
        group = self._process.pid
        self._process.stdin.close()
        self._process.wait()
        self._answers.close()
        self._process = None
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.killpg(group, 0)
                time.sleep(0.2)


class Fleet:
    """`run(plan)` carries out each writer's ops, all writers at once; `count` is how many are over."""

    def __init__(self, writers, folder, settings):
        self.writers = [WriterProcess(number, folder, settings) for number in range(writers)]
        self.count, self.kills, self.errors, self.took_s = 0, 0, [], []
        self._usual = deque([5.0], maxlen=60)
        self._lock = threading.Lock()

    def run(self, plan, until):
        self._threads = [
            threading.Thread(target=self._work, args=(*pair, until), daemon=True)
            for pair in zip(self.writers, plan, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self):
        return any(thread.is_alive() for thread in self._threads)

    def _work(self, writer, ops, until):
        try:
            for op in ops:
                if time.monotonic() < until:
                    self._one(writer, op)
        except Exception as error:
            self.errors.append(error)

    def _one(self, writer, op):
        if op["killed"] is not None:
            writer.owed.append(op["killed"])
        for attempt in range(1, TRIES + 1):
            # A write that was over before its kill came leaves the kill to the next one.
            kill_after_s = writer.owed[0] * statistics.median(self._usual) if writer.owed and attempt == 1 else None
            began = time.monotonic()
            answer = writer.do({**op, "attempt": f"{op['id']}.{attempt}"}, kill_after_s)
            with self._lock:
                if answer == "killed":
                    self.kills += 1
                    writer.owed.pop(0)
                else:
                    self._usual.append(time.monotonic() - began)
                    self.took_s.append(time.monotonic() - began)
            if answer == "done" or "txnAppId" not in op:
                break
            time.sleep(0.5)
        with self._lock:
            self.count += 1

    def close(self):
        for writer in self.writers:
            writer.kill()
