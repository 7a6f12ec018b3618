"""Tokens and the roles they give; the database holds only hashes, and the first one lies in a file of mode 0600."""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.tables import tokens

if TYPE_CHECKING:
    from pathlib import Path

    from sfbatch.jobs.database import Database

READER, SUBMITTER, ADMIN = ROLES = ("reader", "submitter", "admin")  # each may do all that those before it may
FRESH_S = 2.0  # how long a token may live on after it was revoked
UNKNOWN_S = 0.1  # how soon the table is read again for a token that is not in it, which may be new
UNKNOWN_WAITS_S = 0.2  # how long such a token may keep a thread while another one reads
FILE = "token"


@dataclass(frozen=True)
class Principal:
    """Who sent a request."""

    user: str
    role: str

    @property
    def is_admin(self) -> bool:
        """May change clusters, submit for others and kill others' jobs."""
        return self.role == ADMIN

    @property
    def may_submit(self) -> bool:
        """May submit jobs, and kill their own."""
        return self.role in {SUBMITTER, ADMIN}

    def may_change(self, user: str) -> bool:
        """Whether the jobs of `user` may be killed."""
        return self.is_admin or (self.may_submit and self.user == user)


def issue(database: Database, user: str, role: str) -> str:
    """Make a token and return it; it cannot be shown again."""
    token = f"sfb_{secrets.token_urlsafe(32)}"
    with database.write() as connection:
        connection.execute(insert(tokens).values(hash=_hash(token), user=user, role=role, created_ms=now_ms()))
    return token


def revoke(database: Database, user: str) -> int:
    """End every token of a user within FRESH_S seconds; returns how many there were."""
    with database.write() as connection:
        valid = (tokens.c.user == user, tokens.c.revoked_ms.is_(None))
        return connection.execute(update(tokens).where(*valid).values(revoked_ms=now_ms())).rowcount


def first_token(database: Database, directory: Path) -> Path:
    """The file with this user's admin token, made with its token at the first start."""
    path = directory / FILE
    known = Authority(database)
    if path.exists() and known.identify(f"Bearer {path.read_text().strip()}"):
        return path
    token = issue(database, getpass.getuser(), ADMIN)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    part.rename(path)
    return path


class Authority:
    """Tells whose token it is. One thread at a time looks at the database; the others go on with what is known."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Principal] = {}
        self._read_s = float("-inf")
        self._reading = threading.Lock()

    def recall(self, authorization: str) -> Principal | None:
        """Whose it is, as far as memory tells; None when `identify` has to look."""
        token = _hash_of(authorization)
        return None if self._is_due(token) else self._known.get(token)

    def identify(self, authorization: str) -> Principal | None:
        """Who sends this `Authorization` header: `Bearer TOKEN`, or pygenie's Basic, the token as password.

        Looks at the database every FRESH_S seconds at most, or UNKNOWN_S for a token that is not known. While the
        database is away the tokens known last stay good.
        """
        token = _hash_of(authorization)
        if self._is_due(token) and self._reading.acquire(timeout=0 if token in self._known else UNKNOWN_WAITS_S):
            try:
                if self._is_due(token):
                    self._read()
            finally:
                self._reading.release()
        return self._known.get(token)  # by its hash: the time it takes tells nothing about the token

    def _is_due(self, token: str) -> bool:
        return time.monotonic() - self._read_s >= (FRESH_S if token in self._known else UNKNOWN_S)

    def _read(self) -> None:
        began = time.monotonic()
        try:
            with self._database.read() as connection:
                valid = select(tokens.c.hash, tokens.c.user, tokens.c.role).where(tokens.c.revoked_ms.is_(None))
                self._known = {row.hash: Principal(row.user, row.role) for row in connection.execute(valid)}
        except SQLAlchemyError:  # no free connection is no DBAPIError
            if not self._known:
                raise
        self._read_s = began


def _hash_of(authorization: str) -> str:
    scheme, _, value = authorization.strip().partition(" ")
    token = value.strip()
    if scheme.lower() == "basic":
        try:
            token = base64.b64decode(token, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    elif scheme.lower() != "bearer":
        return ""
    return _hash(token)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
