"""The tables. Every moment is a Unix time in seconds; what is unknown, not set or not yet so is NULL.

A change here needs a migration in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    false,
)

from hibari.db.append_only import protect

# Named alike on every database, so that a later migration can name what it changes.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts a key up by itself only if its type is INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("paused_at", Double),
    # When a job of this owner was last begun: among equals, whoever has waited longest comes next.
    Column("served_at", Double),
    # When it was given its samples, or was found not to need any: it happens once.
    Column("samples_at", Double),
    # Limits; NULL is the server's default.
    Column("max_running", Integer),
    Column("max_queued", Integer),
    Column("max_stored_bytes", BigInteger),
    # Seconds of all videos ever made, those that were deleted included; NULL before the first.
    Column("made_s", Double),
    # Its keys are revoked and its name is forgotten; the row stays, because others refer to it.
    Column("deleted_at", Double),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),  # of the secret; shown in lists
    Column("sha256", Text, nullable=False),  # of the secret, which itself is nowhere
    Column("role", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("paused_at", Double),
    Column("used_at", Double),
    Column("requests_per_minute", Integer),
    Index(None, "prefix"),
    Index(None, "account_id"),
)

# Switches of the whole server that must be seen by all its processes. A row is there while the switch is on.
switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("since", Double, nullable=False),
)

# Secrets of the server's own, the same for all its processes, with which it signs what it gives away.
server_secrets = Table(
    "server_secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("secret", Text, nullable=False),
)

folders = Table(
    "folders",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("account_id", "name"),
)

jobs = Table(
    "jobs",
    metadata,
    # Order of arrival; never given twice. Within one owner also the order in which they became visible.
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, ForeignKey("accounts.id"), nullable=False),
    Column("key_id", Text, ForeignKey("keys.id")),
    Column("state", Text, nullable=False),
    # What was asked for.
    Column("model", Text, nullable=False),
    Column("request", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("pace", Text),  # jobs of one pace take about as long a step
    Column("steps", Integer),
    Column("deadline_at", Double),
    Column("keep_s", Double),
    Column("remixed_from", Text),  # no foreign key: the source may be deleted, its name stays
    Column("sources", JSON, nullable=False),
    Column("idempotency_key", Text),
    Column("fingerprint", Text, nullable=False),
    # Where it stands.
    Column("step", Integer, nullable=False),
    Column("furthest_step", Integer, nullable=False),
    Column("preview", Text),
    Column("checkpoint", Text),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("first_preview_at", Double),
    Column("finished_at", Double),
    Column("expires_at", Double),
    Column("deleted_at", Double),
    Column("cancel_requested_at", Double),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("result", JSON(none_as_null=True)),
    # Who holds it. `attempt` is the fencing token: it grows with each claim and is never given twice.
    Column("attempt", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Double),
    Column("not_before", Double, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("began_at", Double),  # this attempt's first step, and at which step that was
    Column("began_step", Integer),
    Column("last_event", Integer, nullable=False),
    Column("stored_bytes", BigInteger),  # of its files; before it is completed, what they are expected to be
    Column("tidy_at", Double),  # when what was needed on the way to its end is to be removed; NULL once it is
    # Where its owner finds it again. No foreign key: SQLite cannot add one to a table that is there.
    Column("words", Text),  # the prompt, folded as a search is
    Column("kind", Text),
    Column("folder", Text),
    Column("favourite_at", Double),
    Column("sample", Boolean, nullable=False, server_default=false()),
    CheckConstraint("state IN ('queued', 'running', 'completed', 'failed', 'cancelled')", name="state"),
    UniqueConstraint("owner", "idempotency_key"),
    # Whoever looks at the queue counts in it: `jobs.estimates`.
    Index(None, "state", "owner", "priority", "pace", "steps"),
    Index(None, "owner", "number"),
    Index(None, "expires_at"),
    Index(None, "deleted_at"),
    Index(None, "deadline_at"),
    Index(None, "tidy_at"),
    Index(None, "first_preview_at"),
    Index(None, "owner", "folder", "number"),
    Index(None, "owner", "favourite_at"),
    sqlite_autoincrement=True,
)

# `jobs.sources` the other way round: what was made of a job, which may have gone since.
sources = Table(
    "job_sources",
    metadata,
    Column(
        "job", _Number, ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("source", Text, primary_key=True),
    Index(None, "source"),
)

events = Table(
    "job_events",
    metadata,
    Column(
        "job", _Number, ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),  # of the job, once this had happened
    Column("data", JSON, nullable=False),
)

# What accounts have in the storage beside their jobs' own files.
stored_files = Table(
    "stored_files",
    metadata,
    Column("key", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "account_id"),
)

# Measured seconds a step, averaged over jobs that cost alike.
paces = Table(
    "paces",
    metadata,
    Column("name", Text, primary_key=True),
    Column("step_s", Double, nullable=False),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", JSON, nullable=False),
    Column("secret", Text, nullable=False),  # as it is: what is sent is signed with it
    Column("old_secret", Text),
    Column("old_secret_until", Double),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("disabled_at", Double),
    Index(None, "account_id"),
)

# What is to be told to whom: written with the event itself, in one transaction.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("body", Text, nullable=False),  # what is signed, to the byte
    Column("created_at", Double, nullable=False),
    # `attempt` is the fencing token, as of jobs. While an attempt is made, `next_at` is when it will have died.
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("next_at", Double),
    Column("delivered_at", Double),
    UniqueConstraint("endpoint_id", "event_id"),
    Index(None, "next_at"),
    Index(None, "created_at"),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column(
        "delivery",
        _Number,
        ForeignKey("webhook_deliveries.number", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("took_ms", Integer, nullable=False),
    Column("status_code", Integer),
    Column("error", Text),
)

# Who did what to whom. Rows are only added: the database itself refuses to change or remove one. There are no foreign
# keys, so that a row outlives what it tells of; names are those of the moment.
audit_log = Table(
    "audit_log",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("via", Text, nullable=False),
    Column("actor_id", Text),  # an account; NULL for whoever can use the command line
    Column("actor_name", Text, nullable=False),
    Column("key_prefix", Text),  # of the key that was used
    Column("action", Text, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text),
    Column("target_name", Text),
    Column("account_id", Text),  # whose the target is
    Column("details", JSON, nullable=False),
    Index(None, "action"),
    Index(None, "actor_id"),
    Index(None, "account_id"),
    sqlite_autoincrement=True,
)


@event.listens_for(audit_log, "after_create")
def _protect(target: Table, connection: Connection, **_: object) -> None:
    protect(connection, target.name)
