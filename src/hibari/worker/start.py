"""A worker as the settings of a server and of a machine say, with all that it stands on."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager

from hibari import catalog, tools
from hibari.db import Database, migrate
from hibari.engine.memory import default_budget_bytes
from hibari.engine.runtime import prepare_torch
from hibari.jobs import Policy
from hibari.media.storage import Storage
from hibari.models.protocol import Model
from hibari.settings import ServerSettings, Settings
from hibari.worker.worker import Worker


@contextmanager
def worker_on(
    settings: ServerSettings, machine: Settings, *, models: Collection[str] | None, max_jobs: int
) -> Generator[Worker]:
    """A worker that has not begun, and its database while the context lasts.

    Args:
        settings: of the server whose jobs it takes.
        machine: of this machine.
        models, max_jobs: as of `Worker`.

    Raises:
        HibariError: the database, the storage or the device cannot be had.
    """
    database = Database(settings.database)
    try:
        migrate(database)
        device = prepare_torch(machine)

        def load(name: str) -> Model:
            catalog.spec(name, machine.models)  # never a path, whatever the queue holds
            return catalog.load(name, device=device, models=machine.models)

        yield Worker(
            database,
            Storage(settings.storage),
            load,
            policy=Policy(lease_s=settings.lease_s, max_stored_bytes=settings.quota_bytes),
            models=models,
            max_jobs=max_jobs,
            memory_bytes=machine.memory_bytes or default_budget_bytes(device),
            text_cache=tools.text_cache(machine),
        )
    finally:
        database.close()
