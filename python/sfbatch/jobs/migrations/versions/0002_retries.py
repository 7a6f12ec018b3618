"""Jobs that run again after they failed; indexes that answer a search by themselves.

Revision ID: 0002
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every job there is has made its first attempt."""
    op.add_column("jobs", Column("attempt", Integer, nullable=False, server_default="1"))
    op.add_column("jobs", Column("not_before_ms", BigInteger))
    op.drop_index("jobs_by_cluster", "jobs")
    op.create_index("jobs_by_cluster", "jobs", ["cluster_id", "created_ms", "id"])
    op.drop_index("jobs_by_user", "jobs")
    op.create_index("jobs_by_user", "jobs", ["user", "created_ms", "id", "status"])
    op.create_index("jobs_by_id", "jobs", ["id", "status"])


def downgrade() -> None:
    """Forget which attempt a job is at."""
    op.drop_index("jobs_by_id", "jobs")
    op.drop_index("jobs_by_user", "jobs")
    op.create_index("jobs_by_user", "jobs", ["user", "created_ms", "id"])
    op.drop_index("jobs_by_cluster", "jobs")
    op.create_index("jobs_by_cluster", "jobs", ["cluster_id", "status"])
    op.drop_column("jobs", "not_before_ms")
    op.drop_column("jobs", "attempt")
