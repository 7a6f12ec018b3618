"""Structured logs: one JSON object a line, on stderr; and the audit log, a file of mode 0600."""

from __future__ import annotations

import json
import logging
import os
from logging.handlers import RotatingFileHandler
from typing import IO, TYPE_CHECKING, Any

from sfbatch.jobs.clock import iso

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN = set(logging.makeLogRecord({}).__dict__) | {"message", "taskName", "color_message", "asctime"}
AUDIT_BYTES, AUDIT_FILES = 64 * 1024 * 1024, 10


class JsonLines(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., and what was given as `extra`}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": iso(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in record.__dict__.items() if name not in _PLAIN},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _OwnersFile(RotatingFileHandler):
    def _open(self) -> IO[Any]:  # type: ignore[override]
        descriptor = os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")


def set_up(audit_file: Path, level: str) -> None:
    """Send every logger to stderr as JSON lines, and the audit's to its file."""
    lines = logging.StreamHandler()
    lines.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers, root.level = [lines], logging.getLevelName(level.upper())
    for name in ("uvicorn", "uvicorn.error", "alembic"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("alembic").setLevel(logging.WARNING)
    file = _OwnersFile(audit_file, maxBytes=AUDIT_BYTES, backupCount=AUDIT_FILES)
    file.setFormatter(JsonLines())
    audit = logging.getLogger("sfbatch.audit")
    audit.handlers, audit.propagate = [file], False
    audit.setLevel(logging.INFO)
