"""Uvicorn's server, which tells where it listens in a file of the home, so that clients with that home find it."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

import uvicorn

from sfbatch.jobs.problem import ServerError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

log = logging.getLogger(__name__)
FILE = "url"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all addresses -> one that reaches it from here


class Listening(uvicorn.Server):
    """One server; its address is in `directory` while it listens."""

    def __init__(self, config: uvicorn.Config, directory: Path) -> None:
        super().__init__(config)
        self._directory = directory

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises ServerError SFBATCH_SERVER_REFUSED when the port is taken."""
        try:
            await super().startup(sockets)
        except SystemExit as stop:
            if not isinstance(stop.__context__, OSError):
                raise
            where = f"{self.config.host}, port {self.config.port}"
            message = f"it cannot listen on {where} ({stop.__context__}): give another --port."
            raise ServerError("SFBATCH_SERVER_REFUSED", message) from None
        if self.started:
            try:
                self._tell()
            except OSError as error:  # a full disk: clients are told the address by whoever started it
                log.warning("its address cannot be written for clients: %s", error)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, and be found no more."""
        with contextlib.suppress(OSError):
            (self._directory / FILE).unlink(missing_ok=True)
        await super().shutdown(sockets)

    def _tell(self) -> None:
        address, port = self.servers[0].sockets[0].getsockname()[:2]
        host = _ANY.get(address, address)
        part = self._directory / f"{FILE}.part"
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"http://{f'[{host}]' if ':' in host else host}:{port}\n")
        part.rename(self._directory / FILE)
