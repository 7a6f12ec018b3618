"""What an operator can choose about the server, in one place; nothing else reads the environment."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sfbatch.local_metastore import default_home

MIB = 1024 * 1024


def _memory_mb() -> int:
    """Four fifths of the machine's memory, what the local back end may hand out."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB * 4 // 5


@dataclass(frozen=True)
class Settings:
    """The server's settings; sizes and times carry their unit in the name."""

    home: Path = field(default_factory=default_home)
    host: str = "127.0.0.1"
    port: int = 8080
    auth: bool = True
    database_url: str = ""
    allowed_hosts: tuple[str, ...] = ()  # further names by which clients and browsers may call the server
    pass_env: tuple[str, ...] = ()  # further environment variables that jobs see
    memory_mb: int = field(default_factory=_memory_mb)  # what all running local jobs together may ask for
    max_running_per_user: int = 0  # 0: no limit
    max_json_bytes: int = 8 * MIB
    max_upload_bytes: int = 512 * MIB
    max_output_bytes: int = 8 * 1024 * MIB  # of stdout, and of stderr
    remote_poll_s: float = 10.0  # between two looks at the jobs of EMR
    kill_grace_s: float = 10.0  # between SIGTERM and SIGKILL

    @property
    def directory(self) -> Path:
        """Everything the server keeps on disk: database, token, audit log, and a directory for each job."""
        return self.home / "jobs"

    @property
    def url(self) -> str:
        """The database: the one given, else SFBATCH_JOBS_DATABASE_URL, else a SQLite file under `directory`."""
        given = self.database_url or os.environ.get("SFBATCH_JOBS_DATABASE_URL", "")
        if not given:
            return f"sqlite:///{self.directory / 'jobs.db'}"
        return given.replace("postgresql://", "postgresql+psycopg://", 1)

    @cached_property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server; a name counts when all its addresses are loopback."""
        try:
            found = socket.getaddrinfo(self.host, None)
        except OSError:
            return False
        return bool(found) and all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)
