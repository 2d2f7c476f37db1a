"""Who may ask the server for something: accounts, and the API keys that open them.

An account owns jobs and has limits; a key stands for its account within a role and scopes. `Accounts` is the only way
to both. Being paused is a mark on either that `jobs` sets and obeys.
"""

from hibari.accounts.records import (
    LINKS_SECRET,
    LOCAL,
    ROLE_SCOPES,
    SCOPES,
    Account,
    Identity,
    Key,
    NewKey,
    Role,
)
from hibari.accounts.store import Accounts

__all__ = [
    "LINKS_SECRET",
    "LOCAL",
    "ROLE_SCOPES",
    "SCOPES",
    "Account",
    "Accounts",
    "Identity",
    "Key",
    "NewKey",
    "Role",
]
