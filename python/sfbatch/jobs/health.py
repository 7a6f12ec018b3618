"""Whether the server can do its work: it tries, rather than saying so."""

from __future__ import annotations

import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any

from sfbatch.jobs import home

if TYPE_CHECKING:
    from collections.abc import Callable

    from sfbatch.jobs.context import Server

LEAST_FREE_BYTES = 256 * 1024 * 1024
LONGEST_ROUND_S = 30.0


def health(server: Server) -> dict[str, Any]:
    """Spring's form: `{"status": "UP", "components": {"database": {"status": "UP"}, ...}}`, DOWN when one is."""
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        "database": lambda: _database(server),
        "disk": lambda: _disk(server),
        "dispatcher": lambda: _dispatcher(server),
    }
    components = {}
    for name, check in checks.items():
        try:
            components[name] = {"status": "UP", "details": check()}
        except Exception as error:  # whatever it is, this component does not work
            components[name] = {"status": "DOWN", "details": {"error": f"{type(error).__name__}: {error}"}}
    up = all(component["status"] == "UP" for component in components.values())
    return {"status": "UP" if up else "DOWN", "components": components}


def _database(server: Server) -> dict[str, Any]:
    began = time.perf_counter()
    server.database.check()
    return {"answered_in_ms": round((time.perf_counter() - began) * 1000, 1)}


def _disk(server: Server) -> dict[str, Any]:
    directory = server.settings.directory
    home.check(directory, server.dispatcher.server_id)
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"sfbatch")
        file.flush()
    free = shutil.disk_usage(directory).free
    if free < LEAST_FREE_BYTES:
        raise OSError(f"only {free} bytes are free")
    return {"free_bytes": free}


def _dispatcher(server: Server) -> dict[str, Any]:
    server.dispatcher.check()
    since_s = time.monotonic() - server.dispatcher.last_round_s
    if since_s > LONGEST_ROUND_S:
        raise TimeoutError(f"no round for {since_s:.0f} s")
    return {"last_round_s_ago": round(since_s, 1)}
