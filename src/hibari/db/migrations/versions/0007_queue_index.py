"""An index in which what waits can be counted without looking at each job."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """From the audit log."""
    op.create_index(
        "ix_jobs_state_owner_priority_pace_steps", "jobs", ["state", "owner", "priority", "pace", "steps"]
    )
    op.drop_index("ix_jobs_state_owner", "jobs")
