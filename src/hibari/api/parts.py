"""What the routes work with, put together once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Request

from hibari import catalog
from hibari.accounts import Accounts
from hibari.audit import AuditLog
from hibari.contracts import ModelSpec, UnknownModel, WeightsError
from hibari.db import Database
from hibari.jobs import Gallery, Jobs, Policy, StoredFiles, Upkeep
from hibari.media.storage import Storage
from hibari.settings import ServerSettings
from hibari.webhooks import Webhooks

logger = logging.getLogger(__name__)

SORA = ("sora-2", "sora-2-pro")


@dataclass(frozen=True, slots=True)
class Parts:
    """The rooms that the API stands on."""

    settings: ServerSettings
    database: Database
    accounts: Accounts
    jobs: Jobs
    gallery: Gallery
    upkeep: Upkeep
    storage: Storage
    stored: StoredFiles
    webhooks: Webhooks
    audit: AuditLog

    @classmethod
    def of(cls, settings: ServerSettings) -> Parts:
        """The parts as the settings say.

        Raises:
            HibariError: the database or the storage cannot be had.
        """
        database = Database(settings.database)
        policy = Policy(lease_s=settings.lease_s, max_stored_bytes=settings.quota_bytes)
        return cls(
            settings=settings,
            database=database,
            accounts=Accounts(database),
            jobs=Jobs(database, policy=policy),
            gallery=Gallery(database),
            upkeep=Upkeep(database, policy=policy),
            storage=Storage(settings.storage),
            stored=StoredFiles(database, policy=policy),
            webhooks=Webhooks(database, private_urls=settings.private_urls),
            audit=AuditLog(database),
        )

    def aliases(self) -> Mapping[str, str]:
        """Names of Sora's, and the model behind each."""
        return dict.fromkeys(SORA, self.settings.sora_model)

    def spec(self, name: str | None) -> ModelSpec:
        """The model behind a name, an alias, an alias with a date as in `sora-2-2025-10-06`, or none.

        Raises:
            UnknownModel: there is none of that name, or its files say nothing that can be used.
        """
        if name is None:
            name = self.settings.model
        elif is_sora(name):
            name = self.settings.sora_model
        try:
            return catalog.spec(name, self.settings.models, also=SORA)
        except WeightsError as error:  # whose words have paths of this machine
            logger.warning("the model %s cannot be used: %s", name, error)
            raise UnknownModel(
                f"the model {name} was pulled, but its files are damaged or not all there; `hibari models` says on the "
                "server what is wrong, and pulling it again brings what is missing",
                field="model",
            ) from error

    def models(self) -> list[ModelSpec]:
        """All models that can be asked for; of what was pulled, as far as it can be used."""
        found: list[ModelSpec] = []
        for name in catalog.names(self.settings.models):
            with suppress(UnknownModel):
                found.append(self.spec(name))
        return found


def is_sora(name: str) -> bool:
    """Whether a name is one of Sora's, with a date or without."""
    return any(name == one or _is_dated(name, one) for one in SORA)


def _is_dated(name: str, base: str) -> bool:
    rest = name.removeprefix(f"{base}-")
    return rest != name and rest[:1].isdigit() and rest.replace("-", "").isdigit()


async def parts_of(request: Request) -> Parts:
    """The application's parts, for a route. Asynchronous, as what is not would be called in a thread."""
    parts: Parts = request.app.state.parts
    return parts
