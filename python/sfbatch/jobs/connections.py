"""The server's connections: who sends no request does not keep a descriptor that somebody else needs.

uvicorn waits for ever for the first line of a request, and takes as many connections as there are descriptors.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

REQUEST_WITHIN_S = 20.0  # from the connection's beginning, or its first byte after an answer, to the headers' end
MOST_DESCRIPTORS = 65_536
BACKLOG = 1024  # connections that wait to be taken; a burst of submitters is not refused
KEPT = BACKLOG + 100  # descriptors: as many are taken at once; the rest for the database and jobs' files


def raise_limit() -> None:
    """Let this process have as many descriptors as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most() -> int:
    """How many connections may be open at once."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(soft - KEPT, soft // 2) if soft != resource.RLIM_INFINITY else MOST_DESCRIPTORS


def backlog() -> int:
    """How many connections may wait to be taken: all of them are taken at once, before any is given up for another."""
    return min(BACKLOG, most() // 2)


class Impatient(H11Protocol):
    """uvicorn's HTTP, with a time to send a request in. Where there are too many, the longest silent gives way."""

    _late: asyncio.TimerHandle | None = None
    _heard_s = 0.0

    def connection_made(self, transport: Any) -> None:
        """Somebody is there."""
        super().connection_made(transport)
        self._heard_s = self.loop.time()
        if len(self.connections) > most():
            others = [each for each in self.connections if isinstance(each, Impatient)]
            silent = [each for each in others if each._waits_for_client and not each.transport.is_closing()]
            min(silent, key=lambda each: each._heard_s).transport.abort()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        self._heard_s = self.loop.time()
        super().data_received(data)
        if not self._is_idle:
            self._stop_waiting()
        elif self._late is None:
            self._wait()

    def on_response_complete(self) -> None:
        """The whole of an answer was written, to the system or to what waits for it."""
        super().on_response_complete()
        self._heard_s = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _is_idle(self) -> bool:
        """Whether no request's headers have come that are to be answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits_for_client(self) -> bool:
        """Whether nothing is on its way: neither an answer's end, for a while, nor what we do not read yet."""
        if self._is_idle:
            late = self.loop.time() - self._heard_s > REQUEST_WITHIN_S
            return late or self.transport.get_write_buffer_size() == 0
        return bool(self.cycle.more_body) and not self.flow.read_paused

    def _wait(self) -> None:
        self._late = self.loop.call_later(REQUEST_WITHIN_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None
