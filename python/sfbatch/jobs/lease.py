"""A server's lease in the database: of two servers with one id, as a copied home makes them, one alone runs the jobs.

The id stands for a home, and the row says which server holds it: a nonce, new at every start. A server that finds
another's nonce there has been replaced, and touches no job any more.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.problem import ServerError
from sfbatch.jobs.tables import servers

if TYPE_CHECKING:
    from pathlib import Path

    from sfbatch.jobs.database import Database

LEASE_MS = 30_000
LOOK_EVERY_S = 0.5
log = logging.getLogger(__name__)


class Lease:
    """The right to run the jobs of one id."""

    def __init__(self, database: Database, server_id: str, directory: Path) -> None:
        self._database, self.server_id = database, server_id
        self._nonce = secrets.token_hex(16)
        self._place = {"host": socket.gethostname()[:255], "directory": str(directory.resolve())[:1024]}
        self._mine = (servers.c.id == server_id, servers.c.nonce == self._nonce)
        self._renewed_ms = 0

    def take(self) -> None:
        """Begin to hold it: at once after a server of this very home, which is dead, since its lock is free.

        After one of another place as soon as its lease has run out. Raises ServerError SFBATCH_SERVER_REFUSED when
        that one renews it meanwhile.
        """
        first = None
        while True:
            with self._database.write() as connection:
                row = connection.execute(select(servers).where(servers.c.id == self.server_id)).first()
                here = row is not None and all(getattr(row, name) == value for name, value in self._place.items())
                if row is None or here or row.nonce is None or row.alive_until_ms <= now_ms():
                    self._write(connection, row)
                    return
            where = f"{row.host} (process {row.process_id}) in {row.directory}"
            if first is None:
                first = row
                log.warning("this server's id was held just now by a server on %s: waiting for its end", where)
            if (row.nonce, row.alive_until_ms) != (first.nonce, first.alive_until_ms):
                message = (
                    f"a server with this one's id runs on {where}. If {self._place['directory']} is a copy of that, "
                    "delete `server-id` in the copy: its jobs are the other one's."
                )
                raise ServerError("SFBATCH_SERVER_REFUSED", message)
            time.sleep(LOOK_EVERY_S)

    def check(self, connection: Connection) -> None:
        """Raises ServerError SFBATCH_SERVER_REFUSED when another server has taken it."""
        row = connection.execute(select(servers).where(servers.c.id == self.server_id)).first()
        if row is None or row.nonce != self._nonce:
            by = f"a server on {row.host} in {row.directory}" if row else "nobody: its row was deleted"
            message = f"this server's id is held by {by}. It runs no jobs any more: stop one of the two."
            raise ServerError("SFBATCH_SERVER_REFUSED", message)

    def renew(self) -> None:
        """Hold it for longer, when it is time to. Raises ServerError SFBATCH_SERVER_REFUSED."""
        if now_ms() - self._renewed_ms > LEASE_MS // 3:
            now = now_ms()
            longer = update(servers).where(*self._mine).values(alive_until_ms=now + LEASE_MS)
            with self._database.write() as connection:
                if not connection.execute(longer).rowcount:
                    self.check(connection)
            self._renewed_ms = now

    def give_back(self) -> None:
        """Let a successor, wherever it is, begin at once."""
        with self._database.write() as connection:
            connection.execute(update(servers).where(*self._mine).values(alive_until_ms=now_ms()))

    def _write(self, connection: Connection, there: Any) -> None:
        now = now_ms()
        held = {**self._place, "nonce": self._nonce, "process_id": os.getpid(), "alive_until_ms": now + LEASE_MS}
        if there:
            connection.execute(update(servers).where(servers.c.id == self.server_id).values(**held))
        else:
            connection.execute(insert(servers).values(id=self.server_id, started_ms=now, **held))
        self._renewed_ms = now
