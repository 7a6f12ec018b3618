"""The database: SQLite in the home directory or PostgreSQL by URL; what `write` committed is on disk when it returns.

SQLite takes one writer at a time and makes the others poll, so writers of this process wait in line here instead.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from sfbatch.jobs.problem import ServerError
from sfbatch.jobs.tables import resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
HEAD = "0003"  # the newest migration
RETRY_FOR_S = 20.0  # a database that restarts is waited for; Netflix's client gives a submission 30 s


class Database:
    """Connections of one server. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open nothing yet. `url` is SQLAlchemy's, e.g. `sqlite:////data/jobs.db`, `postgresql+psycopg://...`."""
        try:
            self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
            options: dict[str, Any] = {} if self.is_sqlite else {"pool_pre_ping": True}
            self.engine = create_engine(url, pool_size=20, max_overflow=0, pool_timeout=60, **options)
            # PostgreSQL's own default lets each statement see another state; SQLite's does not.
            self._reads = (
                self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
            )
        except ImportError as error:
            message = f"no driver for this database ({error}): pip install 'sfbatch[server,postgres]'."
            raise ServerError("SFBATCH_DATABASE_FAILED", message) from error
        except ArgumentError:  # not shown: there may be a password in it
            message = "the database's URL is none: expected e.g. postgresql://USER:PASSWORD@HOST/NAME."
            raise ServerError("SFBATCH_DATABASE_FAILED", message) from None
        self._line = threading.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        with self._reads.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, committed and on disk at the end, or rolled back when an exception leaves it."""
        with self._line, self.engine.connect().execution_options(immediate=True) as connection, connection.begin():
            yield connection

    def patiently(self, work: Callable[[], T], for_s: float = RETRY_FOR_S) -> T:
        """Run `work` again while the database is away. Safe only where a second run finds what the first committed."""
        give_up = time.monotonic() + for_s
        while True:
            try:
                return work()
            except DBAPIError as error:
                if not is_away(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.25)

    def migrate(self) -> None:
        """Bring the schema up to date; Alembic is imported only when there is something to do."""
        if self.is_sqlite and (path := self.engine.url.database):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        found = self.schema_version()
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            message = f"the database is of schema {found}, this server knows {HEAD}: install the newest sfbatch."
            raise ServerError("SFBATCH_DATABASE_FAILED", message)
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def schema_version(self) -> str | None:
        """The migration the database is at, None before the first."""
        with self.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return version

    def check(self) -> None:
        """Fail when the database does not answer or has not our tables."""
        with self.read() as connection:
            connection.execute(select(resources.c.id).limit(1)).all()

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


def is_away(error: DBAPIError) -> bool:
    """Whether the database (not the statement) is at fault: restarting, unreachable, locked."""
    return error.connection_invalidated or type(error.orig).__name__ in {"OperationalError", "AdminShutdown"}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """WAL lets readers go on during a write; FULL makes a commit survive the loss of power."""
    connection.isolation_level = None  # begin where SQLAlchemy says, not where the driver guesses
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=20000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
