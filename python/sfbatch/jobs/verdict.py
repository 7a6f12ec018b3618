"""How a job ended, in Genie's words; the last lines of a failed job's logs say why."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

from sfbatch.jobs import states
from sfbatch.jobs.backends import Phase, Reason, Report
from sfbatch.jobs.backends.plain import open_plain
from sfbatch.jobs.backends.wrapper import DETAILS
from sfbatch.jobs.clock import now_ms

if TYPE_CHECKING:
    from pathlib import Path

TAIL_BYTES = 256 * 1024
LONGEST_CAUSE, LONGEST_LINE = 500, 2000
_JAVA = r"(?:[a-z_][\w]*\.)+[A-Z][\w$]*(?:Exception|Error|Failure|Interrupt|Throwable)\b[^\n]*"
_CAUSED_BY = re.compile(rf"^[^\S\n]*Caused by: ({_JAVA})", re.MULTILINE)
_THROWN = re.compile(rf"^[^\S\n]*(?:Exception in thread \"[^\"]*\" |[^\n]*\bERROR\b[^\n]*?: )?({_JAVA})", re.MULTILINE)
_PY4J = re.compile(
    rf"^py4j\.protocol\.Py4JJavaError: [^\n]*\n: ({_JAVA})((?:\n(?:[ \t]|Caused by: )[^\n]*)*)", re.MULTILINE
)
_PYTHON = re.compile(
    r"^Traceback \(most recent call last\):\n(?:[ \t][^\n]*\n|\n)+"
    r"((?:\w+\.)*\w+(?::[^\n]*)?)",
    re.MULTILINE,
)
_SYNTAX = re.compile(r"^((?:Syntax|Indentation|Tab)Error: [^\n]*)", re.MULTILINE)  # of the program itself: no traceback
_SPARKS = re.compile(  # what Spark, and our writer, say in every job
    r"\d{2,4}[/-]\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d\S* +(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\b|\[Stage \d|sfbatch-published "
    r"|(Setting default log level|To adjust logging level|Using Spark's (default|repl) log4j|WARNING: Using incubator) "
)
_BY_REASON = {
    Reason.KILLED: states.MSG_KILLED,
    Reason.TIMEOUT: states.MSG_TIMEOUT,
    Reason.STDOUT: states.MSG_STDOUT,
    Reason.STDERR: states.MSG_STDERR,
    Reason.CANCELLED: states.MSG_CANCELLED,
    Reason.INTERRUPTED: states.MSG_INTERRUPTED,
}


def verdict(report: Report, directory: Path, killed: bool = False) -> dict[str, Any]:
    """The columns of a job that has ended or is lost; `killed` when its end was asked for.

    0 is success and any other exit code failure; whatever was ended by force is KILLED, with Genie's exit code 999.
    """
    if report.phase is Phase.LOST:
        return {
            "status": states.KILLED if killed else states.FAILED,
            "status_msg": states.MSG_KILLED if killed else report.message or states.MSG_LOST,
            "exit_code": states.EXIT_KILLED if killed else states.EXIT_LOST,
            "finished_ms": now_ms(),
        }
    ended = {
        "finished_ms": report.finished_ms,
        "exit_code": report.exit_code,
        "started_ms": report.started_ms,
        "process_id": report.process_id,
    }
    if report.reason in _BY_REASON:
        message = _BY_REASON[report.reason]
        return {**ended, "status": states.KILLED, "status_msg": message, "exit_code": states.EXIT_KILLED}
    if report.reason is Reason.NOT_STARTED:
        why = " ".join((_tail(directory / DETAILS) or report.message or "").split())
        message = f"{states.MSG_NOT_STARTED}: {_short(why)}" if why else states.MSG_NOT_STARTED
        return {**ended, "status": states.FAILED, "status_msg": message}
    if report.exit_code == 0:
        return {**ended, "status": states.SUCCEEDED, "status_msg": states.MSG_SUCCEEDED}
    # In cluster mode the driver has an stderr of its own, which tells more than that of spark-submit.
    stderr, stdout = (
        _tail(directory / "stderr") + "\n" + _tail(directory / "driver/stderr"),
        _tail(directory / "stdout"),
    )
    cause = root_cause(stderr, stdout) or report.message or by_signal(report.exit_code) or last_line(stderr, stdout)
    message = states.MSG_FAILED if cause is None else f"{states.MSG_FAILED} {cause}"
    return {**ended, "status": states.FAILED, "status_msg": message}


def wrote_unclearly(directory: Path) -> bool:
    """Whether the job was told that a write of its may have been committed: to run again may write it twice."""
    return any(_has(directory / name, b"SFBATCH_PUBLISH_UNCLEAR") for name in ("stderr", "stdout", "driver/stderr"))


def _has(path: Path, word: bytes) -> bool:
    """Whether a stream has the word anywhere, or cannot be read: then it may."""
    try:
        with open_plain(path) as file:
            before = b""
            while chunk := file.read(TAIL_BYTES):
                if word in before + chunk:
                    return True
                before = chunk[-len(word) :]
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def root_cause(stderr: str, stdout: str) -> str | None:
    r"""The exception a job died of: the innermost Java cause, else what Java threw last, else Python's last traceback.

    >>> root_cause("Traceback (most recent call last):\n  File 'a.py', line 1\nValueError: no rows\n", "")
    'ValueError: no rows'

    In client mode spark-submit lets Python's stderr go to either stream, so both are looked at. A traceback of Python
    that only passes on a Java exception (py4j) gives way to that exception, whose cause comes with it.
    """
    python = _last(_PYTHON, stderr) or _last(_PYTHON, stdout) or _last(_SYNTAX, stderr) or _last(_SYNTAX, stdout)
    if python and not python.startswith("py4j."):
        return _short(python)
    for text in (stderr, stdout) if python else ():
        if passed_on := _PY4J.findall(text):
            thrown, trace = passed_on[-1]
            return _short(_last(_CAUSED_BY, trace) or thrown.strip())
    for pattern in (_CAUSED_BY, _THROWN):
        found = _last(pattern, stderr) or _last(pattern, stdout)
        if found:
            return _short(found)
    return _short(python) if python else None


def by_signal(exit_code: int | None) -> str | None:
    """Which signal ended a job, by what a shell makes its exit code.

    >>> by_signal(139), by_signal(1)
    ('It was ended by signal 11 (SIGSEGV).', None)
    """
    try:
        number = signal.Signals((exit_code or 0) - 128)
    except ValueError:
        return None
    return f"It was ended by signal {number.value} ({number.name})."


def last_line(stderr: str, stdout: str) -> str | None:
    r"""What a job said last, where it may say why it failed; stdout's where stderr is Spark's log alone.

    >>> last_line("ERROR: no input\n26/11/21 10:00:01 INFO ShutdownHookManager: Shutdown hook called\n", "")
    'Its last line: ERROR: no input'
    """
    lines = [" ".join(line.split()) for line in stderr.splitlines() if line.strip()]
    said = [line for line in lines if not _SPARKS.match(line)]
    if lines and not said:  # spark-submit in client mode sends Python's stderr there
        said = [" ".join(line.split()) for line in stdout.splitlines() if line.strip()]
    return f"Its last line: {_short(said[-1])}" if said else None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found: list[str] = pattern.findall(text)
    return found[-1].strip() if found else None


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_CAUSE else text[: LONGEST_CAUSE - 1] + "…"


def _tail(path: Path) -> str:
    try:
        with open_plain(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode(errors="replace").replace("\0", "")
            return "\n".join(line[:LONGEST_LINE] for line in text.split("\n"))  # or the patterns take for ever
    except OSError:
        return ""
