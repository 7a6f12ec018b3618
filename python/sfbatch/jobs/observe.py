"""Sees every request: a line in the log, its time in the metrics, and in the audit log if it could change something.

The audit log's line comes before the answer: a change that somebody was told of is on record. No body, no header, no
query is ever logged: tokens and arguments are in them.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from sfbatch.jobs.guard import READS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sfbatch.jobs.metrics import Metrics

METHODS = READS | {"POST", "PUT", "PATCH", "DELETE"}
log = logging.getLogger(__name__)
audit = logging.getLogger("sfbatch.audit")


class Observe:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        seen: dict[str, Any] = {"status": 500}

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
                self._audit(scope, seen, dict(message["headers"]).get(b"location", b"").decode("latin-1"))
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            if "answered" not in seen:
                self._audit(scope, seen)
            self._note(scope, seen, time.perf_counter() - began)

    def _audit(self, scope: Scope, seen: dict[str, Any], location: str = "") -> None:
        seen["answered"] = True
        if scope["method"] not in READS:
            principal = scope.get("state", {}).get("principal")
            made = {"location": location} if location else {}
            line = self._line(scope, seen) | {"role": principal.role if principal else None, **made}
            audit.info("request", extra=line)

    def _note(self, scope: Scope, seen: dict[str, Any], took_s: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"  # nobody may make up series without end
        self._metrics.requests.labels(method, route, str(seen["status"])).observe(took_s)
        log.info("request", extra={**self._line(scope, seen), "took_ms": round(took_s * 1000, 1)})

    def _line(self, scope: Scope, seen: dict[str, Any]) -> dict[str, Any]:
        principal = scope.get("state", {}).get("principal")
        return {
            "method": scope["method"],
            "path": scope["path"],
            "status": seen["status"],
            "user": principal.user if principal else None,
            "client": scope["client"][0] if scope.get("client") else None,
        }
