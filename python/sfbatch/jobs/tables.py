"""The database's tables; a change here needs a migration beside it (`migrations/versions`), which a test compares."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

# A server's lease: what it claimed is its own while it renews `alive_until_ms`. See `lease.py`.
servers = Table(
    "servers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("alive_until_ms", BigInteger, nullable=False),
    Column("nonce", String(32)),  # of the server that holds it, new at every start; its first half names the place
    Column("directory", String(1024)),
    Column("process_id", Integer),
)

# Clusters, commands and applications: what differs between the three is in `body`.
resources = Table(
    "resources",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("user", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("type", String(255)),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
)

resource_tags = Table(
    "resource_tags",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("tag", String(255), primary_key=True),
    Index("resource_tags_by_tag", "tag", "kind"),
)

# A cluster's commands and a command's applications, in order; `kind` is the parent's.
links = Table(
    "links",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("parent_id", String(255), primary_key=True),
    Column("child_id", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Index("links_by_child", "kind", "child_id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("user", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_msg", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Column("cluster_id", String(255)),
    Column("cluster_name", String(255)),
    Column("command_id", String(255)),
    Column("command_name", String(255)),
    Column("grouping", String(255)),
    Column("grouping_instance", String(255)),
    Column("request", JSON, nullable=False),  # as it came, defaults filled in
    Column("applications", JSON, nullable=False),  # ids, chosen with the command
    Column("priority", Integer, nullable=False),
    Column("route", String(64), nullable=False),  # jobs of one route have the same criteria
    Column("timeout_s", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="1"),  # 2 is the first retry
    Column("not_before_ms", BigInteger),  # of a retry: it waits until then
    Column("memory_mb", Integer, nullable=False),
    Column("check_delay_ms", BigInteger),
    Column("server_id", String(64), nullable=False),  # the server that holds `directory`
    Column("directory", String(255), nullable=False),  # under that server's SFBATCH_HOME/jobs
    Column("backend", String(32)),
    Column("claimed_by", String(64)),  # the server that started it and watches it
    Column("kill_requested_ms", BigInteger),
    Column("host_name", String(255)),
    Column("process_id", Integer),
    Column("exit_code", Integer),
    Column("client_host", String(255)),
    Column("user_agent", String(1024)),
    Column("attachments", Integer, nullable=False),
    Column("attachments_bytes", BigInteger, nullable=False),
    Index("jobs_by_created", "created_ms", "id"),
    Index("jobs_by_status", "status", "created_ms", "id"),
    Index("jobs_by_user", "user", "created_ms", "id", "status"),
    Index("jobs_by_id", "id", "status"),
    Index("jobs_by_name", "name", "created_ms", "id"),
    Index("jobs_by_cluster", "cluster_id", "created_ms", "id"),
    Index("jobs_by_started", "started_ms"),
    Index("jobs_by_finished", "finished_ms"),
)

job_tags = Table(
    "job_tags",
    metadata,
    Column("tag", String(255), primary_key=True),
    Column("job_id", String(255), primary_key=True),
    Index("job_tags_by_job", "job_id"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256; a token is 256 random bits, so no salt is needed
    Column("user", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)
