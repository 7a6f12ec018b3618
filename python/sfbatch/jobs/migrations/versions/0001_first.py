"""The first schema.

Revision ID: 0001
"""

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Integer, String, Text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "servers",
        Column("id", String(64), primary_key=True),
        Column("host", String(255), nullable=False),
        Column("started_ms", BigInteger, nullable=False),
        Column("alive_until_ms", BigInteger, nullable=False),
    )
    op.create_table(
        "resources",
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
    op.create_table(
        "resource_tags",
        Column("kind", String(16), primary_key=True),
        Column("id", String(255), primary_key=True),
        Column("tag", String(255), primary_key=True),
    )
    op.create_table(
        "links",
        Column("kind", String(16), primary_key=True),
        Column("parent_id", String(255), primary_key=True),
        Column("child_id", String(255), primary_key=True),
        Column("position", Integer, nullable=False),
    )
    op.create_table(
        "jobs",
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
        Column("request", JSON, nullable=False),
        Column("applications", JSON, nullable=False),
        Column("priority", Integer, nullable=False),
        Column("route", String(64), nullable=False),
        Column("timeout_s", BigInteger, nullable=False),
        Column("memory_mb", Integer, nullable=False),
        Column("check_delay_ms", BigInteger),
        Column("server_id", String(64), nullable=False),
        Column("directory", String(255), nullable=False),
        Column("backend", String(32)),
        Column("claimed_by", String(64)),
        Column("kill_requested_ms", BigInteger),
        Column("host_name", String(255)),
        Column("process_id", Integer),
        Column("exit_code", Integer),
        Column("client_host", String(255)),
        Column("user_agent", String(1024)),
        Column("attachments", Integer, nullable=False),
        Column("attachments_bytes", BigInteger, nullable=False),
    )
    op.create_table(
        "job_tags",
        Column("tag", String(255), primary_key=True),
        Column("job_id", String(255), primary_key=True),
    )
    op.create_table(
        "tokens",
        Column("hash", String(64), primary_key=True),
        Column("user", String(255), nullable=False),
        Column("role", String(16), nullable=False),
        Column("created_ms", BigInteger, nullable=False),
        Column("revoked_ms", BigInteger),
    )
    op.create_index("resource_tags_by_tag", "resource_tags", ["tag", "kind"])
    op.create_index("links_by_child", "links", ["kind", "child_id"])
    op.create_index("jobs_by_created", "jobs", ["created_ms", "id"])
    op.create_index("jobs_by_status", "jobs", ["status", "created_ms", "id"])
    op.create_index("jobs_by_user", "jobs", ["user", "created_ms", "id"])
    op.create_index("jobs_by_name", "jobs", ["name", "created_ms", "id"])
    op.create_index("jobs_by_cluster", "jobs", ["cluster_id", "status"])
    op.create_index("jobs_by_started", "jobs", ["started_ms"])
    op.create_index("jobs_by_finished", "jobs", ["finished_ms"])
    op.create_index("job_tags_by_job", "job_tags", ["job_id"])


def downgrade() -> None:
    """Drop every table."""
    for table in ("tokens", "job_tags", "jobs", "links", "resource_tags", "resources", "servers"):
        op.drop_table(table)
