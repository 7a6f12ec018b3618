"""Times as the wire writes them; everywhere else a time is a whole number of milliseconds since 1970, UTC."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def iso(ms: int | None) -> str | None:
    """Genie's form: three digits and `Z`, all that Netflix's Python client can read.

    >>> iso(1475280000648)
    '2016-10-01T00:00:00.648Z'
    """
    return None if ms is None else f"{_utc(ms):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def spring(ms: int | None) -> str | None:
    """Spring's form, used in error bodies and in a job's execution.

    >>> spring(1475280000648)
    '2016-10-01T00:00:00.648+0000'
    """
    return None if ms is None else f"{_utc(ms):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}+0000"


def duration(ms: int) -> str:
    """A duration as Java's `Duration.toString` writes it.

    >>> [duration(ms) for ms in (0, 3087, 120, 90_500, 7_200_000)]
    ['PT0S', 'PT3.087S', 'PT0.12S', 'PT1M30.5S', 'PT2H']
    """
    minutes, rest_ms = divmod(max(ms, 0), 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "S" if rest_ms else ""
    text = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + seconds
    return "PT" + (text or "0S")


def brief(text: str) -> str:
    """Such a duration for people.

    >>> [brief(text) for text in ("PT0S", "PT3.087S", "PT1M4.5S", "PT26H3S")]
    ['0s', '3s', '1m 04s', '26h 00m']
    """
    hours, minutes, seconds = (
        int(float(found[1])) if (found := re.search(rf"([\d.]+){unit}", text)) else 0 for unit in "HMS"
    )
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {seconds:02d}s" if minutes else f"{seconds}s"


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, timezone.utc)
