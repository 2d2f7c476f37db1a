"""Folders, favourites, the words and kinds by which videos are found, what was made of what, and samples."""

import unicodedata
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
BATCH_ROWS = 500

JOBS = sa.table(
    "jobs",
    sa.column("number", NUMBER),
    sa.column("request", sa.JSON),
    sa.column("sources", sa.JSON),
    sa.column("words", sa.Text),
    sa.column("kind", sa.Text),
)
SOURCES = sa.table("job_sources", sa.column("job", NUMBER), sa.column("source", sa.Text))


def upgrade() -> None:
    """From the first preview."""
    op.create_table(
        "folders",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_folders"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_folders_account_id"),
        sa.UniqueConstraint("account_id", "name", name="uq_folders_account_id_name"),
    )
    op.create_table(
        "job_sources",
        sa.Column("job", NUMBER, autoincrement=False, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job", "source", name="pk_job_sources"),
        sa.ForeignKeyConstraint(["job"], ["jobs.number"], name="fk_job_sources_job", ondelete="CASCADE"),
    )
    op.create_index("ix_job_sources_source", "job_sources", ["source"])
    op.add_column("accounts", sa.Column("samples_at", sa.Double))
    for column in (
        sa.Column("words", sa.Text),
        sa.Column("kind", sa.Text),
        sa.Column("folder", sa.Text),
        sa.Column("favourite_at", sa.Double),
        sa.Column("sample", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("jobs", column)
    op.create_index("ix_jobs_owner_folder_number", "jobs", ["owner", "folder", "number"])
    op.create_index("ix_jobs_owner_favourite_at", "jobs", ["owner", "favourite_at"])
    connection = op.get_bind()
    after = 0
    while True:
        rows = connection.execute(
            sa.select(JOBS.c.number, JOBS.c.request, JOBS.c.sources)
            .where(JOBS.c.number > after)
            .order_by(JOBS.c.number)
            .limit(BATCH_ROWS)
        ).all()
        for number, request, sources in rows:
            connection.execute(sa.update(JOBS).where(JOBS.c.number == number).values(**_found_by(request)))
            for source in dict.fromkeys(sources or ()):
                connection.execute(sa.insert(SOURCES).values(job=number, source=source))
        if len(rows) < BATCH_ROWS:
            return
        after = rows[-1].number


def _found_by(request: dict[str, Any]) -> dict[str, str]:
    """As `jobs.gallery.folded` and `assignment.Assignment.kind` had it when this was written."""
    shown: dict[str, Any] = request.get("shown") or {}
    prompt = shown.get("prompt") or ""
    asked: dict[str, Any] = request.get("assignment") or {}
    kind = asked.get("tool") or (
        "storyboard" if asked.get("cards") else "picture" if asked.get("image") else "prompt"
    )
    return {"words": unicodedata.normalize("NFKC", str(prompt)).casefold(), "kind": str(kind)}
