"""States of unfinished generations on disk: what a crash leaves to go on from."""

from __future__ import annotations

import json
from collections.abc import Container
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from hibari.contracts import GenerationRequest, HibariError, InputError, OutputError
from hibari.engine.start import Start
from hibari.engine.state import GenerationState, read_about
from hibari.engine.unfinished import Unfinished

SUFFIX = ".generation"


class Checkpoints:
    """A folder with one file a generation; without a folder, nothing is kept."""

    def __init__(self, folder: Path | None, every_s: float) -> None:
        """The folder is made when the first state is saved."""
        self._folder = folder
        self._every_s = every_s

    def is_due(self, generation: Unfinished) -> bool:
        """Whether `every_s` has passed since its last one."""
        return monotonic() - generation.saved_s >= self._every_s

    def save(self, generation: Unfinished) -> None:
        """Write its state beside the last one, and take that one's place.

        Raises:
            OutputError: it cannot be written; the last one is still there.
        """
        generation.saved_s = monotonic()
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder}: {error.strerror}") from error
        start = generation.start
        about = {
            "request": asdict(generation.request),
            "owner": generation.owner,
            "priority": generation.priority,
            "arrival": generation.arrival,
            "batched": generation.batched,
            "paused": generation.paused,
            "weights_sha256": generation.weights_sha256,
            "extra": generation.extra,
            "given": "".join("01"[mark] for mark in start.given_F) if start else "",
            "changed": "".join("01"[mark] for mark in start.changed_F) if start else "",
        }
        generation.state.save(self._folder / f"{generation.id}{SUFFIX}", {"generation": json.dumps(about)})

    def remove(self, id: str) -> None:  # noqa: A002
        """Of a generation that will not go on; there need be none."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / f"{id}{SUFFIX}").unlink()

    def read_all(self, but: Container[str]) -> tuple[list[Unfinished], list[tuple[str, HibariError]]]:
        """Every generation that lies in the folder, but those of the ids `but`, in the order of their submission; and
        the ids of those that cannot be read, whose files are put aside."""
        found, damaged = list[Unfinished](), list[tuple[str, HibariError]]()
        if self._folder is None or not self._folder.is_dir():
            return found, damaged
        # What a process had half written when it was killed.
        for left_over in self._folder.glob(f".*{SUFFIX}.*.part"):
            with suppress(OSError):
                left_over.unlink()
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path.stem in but:
                continue
            try:
                found.append(_read(path))
            except HibariError as error:
                with suppress(OSError):
                    path.replace(path.with_suffix(".damaged"))
                damaged.append((path.stem, error))
        return sorted(found, key=lambda generation: generation.arrival), damaged


def _read(path: Path) -> Unfinished:
    """A generation out of its checkpoint.

    Raises:
        InputError: the file is damaged.
    """
    state = GenerationState.load(path)
    try:
        about = json.loads(read_about(path)["generation"])
        request = GenerationRequest.from_dict(about["request"])
        given, changed = (tuple(mark == "1" for mark in about[name]) for name in ("given", "changed"))
        generation = Unfinished(
            id=path.stem,
            request=request,
            # Given frames are in the latent already; only the marks are needed again.
            start=Start(state.latent_CFHW, given, changed) if given else None,
            owner=about["owner"],
            priority=about["priority"],
            arrival=int(about["arrival"]),
            state=state,
            weights_sha256=about["weights_sha256"],
            batched=about["batched"],
            paused=about["paused"],
            extra=about["extra"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no checkpoint of a generation: {error}") from error
    return generation
