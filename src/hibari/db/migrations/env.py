"""What Alembic runs for each upgrade; `hibari.db.migrate` brings the connection and its transaction."""

from alembic import context

from hibari.db.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
