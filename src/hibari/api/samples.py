"""What whoever comes for the first time finds: some videos, made on this machine and for them alone."""

from __future__ import annotations

import logging

from hibari.accounts import Identity
from hibari.api import orders
from hibari.api.asked import Create
from hibari.api.parts import Parts
from hibari.contracts import HibariError

logger = logging.getLogger(__name__)

MODEL = "mini"
SAMPLES = (
    Create(prompt="A red balloon rises over the sea at sunset", size="160x96", seed=0),
    Create(prompt="A cat jumps on the beach", size="128x128", seed=0),
    Create(prompt="A robot spins in a techno club", size="160x96", seed=0),
)


def give(parts: Parts, identity: Identity) -> None:
    """Queue the samples of an account, behind everything else, unless it has had them or has videos of its own: those
    that are deleted do not come back. They show what this server makes if nothing is said, so there are some only where
    that is hibari-mini, which needs seconds for them. What goes wrong with it is logged and keeps nobody out.
    """
    if not parts.settings.samples or parts.settings.model != MODEL or not identity.may("videos:write"):
        return
    try:
        account = identity.account.id
        if not parts.accounts.give_samples(account) or parts.jobs.page(owner=account, limit=1).jobs:
            return
        for sample in SAMPLES:
            orders.from_prompt(parts, orders.Asker(identity, None, ""), sample, None, (), sample=True)
    except HibariError as error:
        logger.warning("there are no samples: %s", error)
