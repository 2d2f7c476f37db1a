"""Who did what to whom; seconds of video made by an account; accounts that are deleted."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from hibari.db.append_only import protect

revision = "0006"
down_revision = "0005"

JOBS = sa.table(
    "jobs",
    sa.column("owner", sa.Text),
    sa.column("state", sa.Text),
    sa.column("result", sa.JSON),
    sa.column("sample", sa.Boolean),
)
ACCOUNTS = sa.table("accounts", sa.column("id", sa.Text), sa.column("made_s", sa.Double))
INDEXED = ("action", "actor_id", "account_id")


def upgrade() -> None:
    """From the first preview."""
    op.add_column("accounts", sa.Column("made_s", sa.Double))
    op.add_column("accounts", sa.Column("deleted_at", sa.Double))
    op.create_table(
        "audit_log",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text),
        sa.Column("actor_name", sa.Text, nullable=False),
        sa.Column("key_prefix", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target_kind", sa.Text, nullable=False),
        sa.Column("target_id", sa.Text),
        sa.Column("target_name", sa.Text),
        sa.Column("account_id", sa.Text),
        sa.Column("details", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_log"),
        sqlite_autoincrement=True,
    )
    for column in INDEXED:
        op.create_index(f"ix_audit_log_{column}", "audit_log", [column])
    connection = op.get_bind()
    protect(connection, "audit_log")
    made_s: dict[str, float] = {}
    completed = sa.select(JOBS.c.owner, JOBS.c.result).where(JOBS.c.state == "completed", ~JOBS.c.sample)
    for owner, result in connection.execute(completed).all():
        about: dict[str, Any] = result or {}
        if about.get("fps"):
            made_s[owner] = made_s.get(owner, 0.0) + about.get("frames", 0) / about["fps"]
    for owner, seconds in made_s.items():
        connection.execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.id == owner).values(made_s=seconds))
