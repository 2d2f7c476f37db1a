"""How much room files take, jobs that are over and still to be tidied up, and the server's own secrets."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

JOBS = sa.table(
    "jobs",
    sa.column("number", sa.BigInteger),
    sa.column("state", sa.Text),
    sa.column("finished_at", sa.Double),
    sa.column("result", sa.JSON),
    sa.column("stored_bytes", sa.BigInteger),
    sa.column("tidy_at", sa.Double),
)


def upgrade() -> None:
    """From webhooks."""
    op.add_column("jobs", sa.Column("stored_bytes", sa.BigInteger))
    op.add_column("jobs", sa.Column("tidy_at", sa.Double))
    op.create_index("ix_jobs_tidy_at", "jobs", ["tidy_at"])
    op.create_table(
        "stored_files",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_stored_files"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_stored_files_account_id"),
    )
    op.create_index("ix_stored_files_account_id", "stored_files", ["account_id"])
    op.create_table(
        "server_secrets",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_secrets"),
    )
    connection = op.get_bind()
    connection.execute(
        sa.update(JOBS)
        .where(JOBS.c.state.in_(["completed", "failed", "cancelled"]))
        .values(tidy_at=JOBS.c.finished_at)
    )
    completed = connection.execute(
        sa.select(JOBS.c.number, JOBS.c.result).where(JOBS.c.state == "completed")
    ).all()
    for number, result in completed:
        about: dict[str, Any] = result or {}
        size_bytes = about.get("bytes", 0)  # what the worker said of it
        connection.execute(sa.update(JOBS).where(JOBS.c.number == number).values(stored_bytes=size_bytes))
