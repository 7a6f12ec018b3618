"""A server's lease in the database: of two servers with one id, as a copied home makes them, one alone runs the jobs.

The id stands for a home, and the row says which server holds it: a nonce, new at every start. A server that finds
another's nonce there has been replaced, and touches no job any more. Two machines' clocks are never compared.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sfbatch.jobs import home
from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.problem import ServerError
from sfbatch.jobs.tables import jobs, servers

if TYPE_CHECKING:
    from sfbatch.jobs.database import Database

LEASE_S = 30.0
LOOK_EVERY_S = 0.5
GIVEN_BACK = 0  # `alive_until_ms` of a server that has ended
log = logging.getLogger(__name__)


class Lease:
    """The right to run the jobs of one id."""

    def __init__(self, database: Database, server_id: str, directory: Path) -> None:
        self._database, self.server_id, self._directory = database, server_id, directory.resolve()
        self._here = home.place(directory)
        self._nonce = self._here + secrets.token_hex(8)
        self._place = {"host": socket.gethostname()[:255], "directory": str(self._directory)[:1024]}
        self._mine = (servers.c.id == server_id, servers.c.nonce == self._nonce)
        self._renewed_s = 0.0

    def take(self) -> None:
        """Begin to hold it: at once after a server of this very home, which is dead, since its lock is free.

        After one of another place when that has not renewed it for as long as it lasts, by this machine's clock alone.
        Raises ServerError SFBATCH_SERVER_REFUSED when that one lives.
        """
        # While the database is away nobody renews: then the wait begins again.
        self._database.patiently(self._wait, for_s=2 * LEASE_S)

    def _wait(self) -> None:
        first, since_s = None, 0.0
        while True:
            dead = first if first is not None and time.monotonic() - since_s > LEASE_S else None
            row = self._take(dead)
            if row is None:
                return
            where = f"{row.host} (process {row.process_id}) in {row.directory}"
            if first is None:
                first, since_s = row, time.monotonic()
                log.warning("this server's id was held just now by a server on %s: waiting for its end", where)
            if self._is_beside(row) or _state(row) != _state(first):
                message = (
                    f"a server with this one's id runs on {where}. If {self._place['directory']} is a copy of that, "
                    "delete `server-id` in the copy: its jobs are the other one's."
                )
                raise ServerError("SFBATCH_SERVER_REFUSED", message)
            time.sleep(LOOK_EVERY_S)

    def inherit(self) -> None:
        """Go on with the jobs of this directory's earlier servers if its `server-id` is new. Called before `take`.

        Another machine may have the same name and path: a server none of whose jobs has files here was not here.
        """
        with self._database.read() as connection:
            if connection.scalar(select(servers.c.id).where(servers.c.id == self.server_id)):
                return
            here = [servers.c[name] == value for name, value in self._place.items()]
            earlier = connection.scalars(select(servers.c.id).where(*here)).all()
        for server_id in earlier:
            with self._database.read() as connection:
                theirs = connection.scalars(select(jobs.c.directory).where(jobs.c.server_id == server_id)).all()
            if not any((self._directory / directory).exists() for directory in theirs):
                if theirs:
                    told = "%s has no files of the jobs of %s: put that id into server-id to have them ended"
                    log.warning(told, self._directory, server_id)
                continue
            try:
                Lease(self._database, server_id, self._directory).take()
            except ServerError as living:
                log.warning("jobs of an earlier server are left alone: %s", living)
                continue
            with self._database.write() as connection:
                for column in (jobs.c.server_id, jobs.c.claimed_by):
                    connection.execute(update(jobs).where(column == server_id).values({column: self.server_id}))
                connection.execute(delete(servers).where(servers.c.id == server_id))
            log.warning("server-id is new in %s: the jobs of %s are this server's now", self._directory, server_id)

    def _take(self, dead: Any) -> Any:
        """Take it unless another server may hold it, which is returned; `dead` is what a dead one's row is like."""
        try:
            with self._database.write() as connection:
                row = connection.execute(select(servers).where(servers.c.id == self.server_id)).first()
                now = now_ms()
                until = now + int(LEASE_S * 1000)
                held = {**self._place, "nonce": self._nonce, "process_id": os.getpid(), "alive_until_ms": until}
                if row is None:
                    connection.execute(insert(servers).values(id=self.server_id, started_ms=now, **held))
                else:
                    free = row.nonce is None or row.alive_until_ms == GIVEN_BACK or row.nonce.startswith(self._here)
                    as_read = (servers.c.nonce == row.nonce, servers.c.alive_until_ms == row.alive_until_ms)
                    if self._is_beside(row) or (not free and not (dead and _state(row) == _state(dead))):
                        return row
                    taken = update(servers).where(servers.c.id == self.server_id, *as_read).values(**held)
                    if not connection.execute(taken).rowcount:
                        return row
        except IntegrityError:  # another one was quicker
            return self._take(dead)
        self._renewed_s = time.monotonic()
        return None

    def _is_beside(self, row: Any) -> bool:
        """Whether its holder runs on this machine, in another directory: this one is a copy, whatever the row says."""
        return row.host == self._place["host"] and home.is_held_elsewhere(Path(row.directory or ""), self._directory)

    def check(self, connection: Connection) -> None:
        """Raises ServerError SFBATCH_SERVER_REFUSED when another server has taken it."""
        row = connection.execute(select(servers).where(servers.c.id == self.server_id)).first()
        if row is None or row.nonce != self._nonce:
            by = f"a server on {row.host} in {row.directory}" if row else "nobody: its row was deleted"
            message = f"this server's id is held by {by}. It runs no jobs any more: stop one of the two."
            raise ServerError("SFBATCH_SERVER_REFUSED", message)

    def renew(self) -> None:
        """Hold it for longer, when it is time to. Raises ServerError SFBATCH_SERVER_REFUSED."""
        if time.monotonic() - self._renewed_s > LEASE_S / 3:
            longer = update(servers).where(*self._mine).values(alive_until_ms=now_ms() + int(LEASE_S * 1000))
            now_s = time.monotonic()
            with self._database.write() as connection:
                if not connection.execute(longer).rowcount:
                    self.check(connection)
            self._renewed_s = now_s

    def give_back(self) -> None:
        """Let a successor, wherever it is, begin at once."""
        with self._database.write() as connection:
            connection.execute(update(servers).where(*self._mine).values(alive_until_ms=GIVEN_BACK))


def _state(row: Any) -> tuple[Any, ...]:
    """What a server that lives changes, and one that is dead does not."""
    return row.nonce, row.alive_until_ms
