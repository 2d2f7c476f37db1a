"""From an assignment to a wish: what it starts from is brought onto this machine."""

from __future__ import annotations

from pathlib import Path

from hibari.assignment import TWO_CLIPS, Assignment, Source
from hibari.contracts import InputError
from hibari.media.storage import Storage
from hibari.tools import StoryCard, Wish


def wish_of(assignment: Assignment, storage: Storage, folder: Path) -> Wish:
    """The wish that `tools.plan_job` takes, its files in `folder`.

    Raises:
        InputError: something that it starts from is no longer there.
        OutputError: it cannot be written here.
    """
    here: dict[Source, Path] = {}

    def local(source: Source) -> Path:
        if source not in here:
            path = folder / f"{len(here)}-{Path(source.key).name}"
            try:
                storage.copy_to(source.key, path)
            except InputError as error:
                raise InputError("what this video starts from has been deleted") from error
            if source.latent is not None and storage.find(source.latent) is not None:
                storage.copy_to(source.latent, path.with_name(f"{path.name}.latent"))
            here[source] = path
        return here[source]

    clips = [local(source) for source in assignment.clips]
    given: dict[str, Path | tuple[Path, Path]] = {}
    if assignment.tool is not None:
        given[assignment.tool] = (clips[0], clips[1]) if assignment.tool in TWO_CLIPS else clips[0]
    return Wish(
        prompt=assignment.prompt,
        image=None if assignment.image is None else local(assignment.image),
        last_image=None if assignment.last_image is None else local(assignment.last_image),
        cards=[
            StoryCard(
                card.at_s,
                card.prompt,
                None if card.image is None else local(card.image),
                None if card.clip is None else local(card.clip),
                card.seconds,
                card.transition_s,
            )
            for card in assignment.cards
        ],
        strength=assignment.strength,
        curve=assignment.curve,
        options=assignment.options,
        **given,  # pyright: ignore[reportArgumentType] - names of TOOLS
    )
