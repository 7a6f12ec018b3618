"""The laptop's metastore seen from Python; must never need a JVM to find or stop it.

The server holds a lock on `metastore/server.lock` for its whole life, and writes where it is to `metastore/state.json`
(`scala/main/sfbatch/LocalMetastore.scala`). Held means alive: no process id is guessed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sfbatch.errors import MetastoreError
from sfbatch.installed import installed_spark
from sfbatch.spark import jar_path


@dataclass(frozen=True)
class LocalMetastore:
    """A running server: `uri` is what `hive.metastore.uris` takes, e.g. `thrift://127.0.0.1:40123`."""

    pid: int
    port: int
    uri: str
    started: str
    spark: str
    warehouse: str
    home: str

    def as_dict(self) -> dict[str, str | int]:
        """For `--json`."""
        return asdict(self)


def default_home() -> Path:
    """SFBATCH_HOME, or `~/.sfbatch`."""
    return Path(os.environ.get("SFBATCH_HOME") or Path.home() / ".sfbatch").absolute()


def find(home: Path | None = None) -> LocalMetastore | None:
    """Return the running server of `home`, None when there is none or it does not answer."""
    home = home or default_home()
    state = _state(home) if _is_held(home) else None
    return state if state and _answers(state.port) else None


def start(home: Path | None = None) -> LocalMetastore:
    """Start the server of `home`, or find it again.

    Raises MetastoreError SFBATCH_JAVA_NOT_FOUND, SFBATCH_METASTORE_FAILED, SFBATCH_METASTORE_TOO_NEW,
    SFBATCH_METASTORE_UNRESPONSIVE; SparkError when no Spark is installed.
    """
    home = home or default_home()
    running = find(home)
    if running:
        return running
    light = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # it only starts the server, and waits
    command = [java(), *light, "-cp", f"{jar_path()}:{installed_spark().jars}/*", "sfbatch.LocalMetastore", "start"]
    done = subprocess.run(
        command, env={**os.environ, "SFBATCH_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    running = None if done.returncode else _state(home)  # it has answered that command
    if not running:
        message = done.stderr.strip() or done.stdout.strip()
        match = re.search(r"\[(SFBATCH_\w+)\] (.*)", message, re.DOTALL)
        raise MetastoreError(*(match.groups() if match else ("SFBATCH_METASTORE_FAILED", message)))
    return running


def stop(home: Path | None = None, timeout_s: float = 20) -> bool:
    """Stop the server of `home`, false when none runs. Tables stay; the next one takes the same port.

    Raises MetastoreError SFBATCH_METASTORE_FAILED when it does not end.
    """
    home = home or default_home()
    if not _is_held(home):
        return False
    state = _state(home)
    if not state:
        raise MetastoreError(
            "SFBATCH_METASTORE_FAILED", f"the local metastore under {home} is being started. Try again in a moment."
        )
    deadline = time.monotonic() + timeout_s
    _signal(state.pid, signal.SIGTERM)
    while _is_held(home):
        if time.monotonic() > deadline:
            raise MetastoreError(
                "SFBATCH_METASTORE_FAILED", f"process {state.pid} does not end. Look at {home}/metastore/log."
            )
        if time.monotonic() > deadline - timeout_s / 2:
            _signal(state.pid, signal.SIGKILL)
        time.sleep(0.1)
    return True


def java() -> str:
    """Return the Java to run: JAVA_HOME's, else the one on PATH.

    Raises MetastoreError SFBATCH_JAVA_NOT_FOUND when there is none or it is older than 17.
    """
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    mend = "Install a JDK or JRE 17 (apt install openjdk-17-jre-headless) and set JAVA_HOME to it."
    if not found or not Path(found).exists():
        where = f"JAVA_HOME is {home}, but there is no bin/java in it" if home else "there is no java on PATH"
        raise MetastoreError("SFBATCH_JAVA_NOT_FOUND", f"{where}. {mend}")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', told)
    oldest = 17
    if not match or int(match[1]) < oldest:
        says = told.splitlines()[0] if told else "nothing"
        raise MetastoreError("SFBATCH_JAVA_NOT_FOUND", f"{found} is not Java 17 or newer (it says: {says}). {mend}")
    return found


def _state(home: Path) -> LocalMetastore | None:
    try:
        state = json.loads((home / "metastore" / "state.json").read_text())
    except (OSError, ValueError):
        return None
    if not state.get("ready"):
        return None
    fields = {key: state[key] for key in ("pid", "port", "uri", "started", "spark", "warehouse")}
    return LocalMetastore(**fields, home=str(home))


def _is_held(home: Path) -> bool:
    # Java's FileChannel locks are POSIX record locks, as lockf's are. Shared: those who look do not see each other.
    try:
        with (home / "metastore" / "server.lock").open() as lock:
            fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _answers(port: int) -> bool:
    """One `getStatus` call (fb303): version and type, name, sequence, empty struct."""
    call = struct.pack("!II9sIb", 0x80010001, 9, b"getStatus", 1, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(call)
            return connection.recv(4) == struct.pack("!I", 0x80010002)
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
