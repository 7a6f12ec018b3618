"""Which of two servers with one id, as a copied home makes them, holds its lease.

Revision ID: 0003
"""

from alembic import op
from sqlalchemy import Column, Integer, String

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = (Column("nonce", String(32)), Column("directory", String(1024)), Column("process_id", Integer))


def upgrade() -> None:
    """A lease of before names no holder, and can be taken at once."""
    for column in COLUMNS:
        op.add_column("servers", column)


def downgrade() -> None:
    """Forget the holders."""
    for column in COLUMNS:
        op.drop_column("servers", column.name)
