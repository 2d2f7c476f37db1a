"""From rows to the frozen nouns of the rooms."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Row

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)


def record(kind: type[Record], row: Row[Any], **own: Any) -> Record:
    """A dataclass of a row: each field has what the column of its name has, but for those that are given."""
    return kind(**{name: getattr(row, name) for name in _names(kind) if name not in own}, **own)


@cache
def _names(kind: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
