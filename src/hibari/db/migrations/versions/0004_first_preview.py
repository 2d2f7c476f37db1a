"""When there was first something to see of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """From stored bytes."""
    op.add_column("jobs", sa.Column("first_preview_at", sa.Double))
    op.create_index("ix_jobs_first_preview_at", "jobs", ["first_preview_at"])
