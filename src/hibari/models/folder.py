"""Published checkpoints, as far as torch is not needed to read them.

The layout of diffusers is a folder: `model_index.json` names the pipeline's class; each part has a folder with its
`config.json` and its safetensors. Families that were published in another layout, too, say the same of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hibari.contracts import WeightsError

SAMPLES, SAMPLE_BYTES = 16, 65536


@dataclass(frozen=True, slots=True)
class Take:
    """Where a network's tensor is in its files.

    Attributes:
        key: its name there.
        pieces: which of `of` equal pieces along the first axis, and in which order: the query out of a fused
            projection, or two halves the other way round.
    """

    key: str
    pieces: tuple[int, ...] = (0,)
    of: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A network's configuration and its tensors, none of which has been read.

    Attributes:
        where: what an error calls it.
        config: as the network's class takes it.
        files: safetensors (or torch's own .bin), each with what is put in front of its keys.
        take: a tensor's name in the network to its place in the files.
        prefix: keys that begin otherwise belong to other networks.
        unused: keys that no network reads.
    """

    where: str
    config: Mapping[str, Any]
    files: Mapping[Path, str]
    take: Callable[[str], Take] = Take
    prefix: str = ""
    unused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published model, whatever its layout, as diffusers would have its parts.

    Attributes:
        index: what `model_index.json` says, or would.
        transformer, autoencoder: the networks.
        scheduler: its configuration.
        text: folder that holds `tokenizer` and `text_encoder`.
        paths: all that belongs to it, for `fingerprint`.
    """

    index: Mapping[str, Any]
    transformer: Source
    autoencoder: Source
    scheduler: Mapping[str, Any]
    text: Path
    paths: tuple[Path, ...] = field(default=())


def read(folder: Path) -> Checkpoint:
    """A checkpoint in the layout of diffusers.

    Raises:
        WeightsError: a file is missing or cannot be read.
    """
    return Checkpoint(
        index=read_json(folder / "model_index.json"),
        transformer=source(folder / "transformer"),
        autoencoder=source(folder / "vae"),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        text=folder,
        paths=(folder,),
    )


def source(folder: Path, *, pickled: bool = False) -> Source:
    """The network of a folder with `config.json` and its tensors; see `tensor_files`.

    Raises:
        WeightsError: a file is missing or cannot be read.
    """
    config = read_json(folder / "config.json")
    return Source(str(folder), config, dict.fromkeys(tensor_files(folder, pickled=pickled), ""))


def text_beside(path: Path) -> Path:
    """The folder of a file, or a folder, that has no text encoder in its own layout; it lies there in diffusers'.

    Raises:
        WeightsError: it does not.
    """
    folder = path if path.is_dir() else path.parent
    for name in ("tokenizer", "text_encoder"):
        if not (folder / name).is_dir():
            raise WeightsError(
                f"{path} has no text encoder in it, and there is no {folder / name}; put `tokenizer` and "
                "`text_encoder` (T5 v1.1 XXL) there, as they are in the published folder, or link them"
            )
    return folder


def refuse_others(settings: Mapping[str, Any], known: Mapping[str, object], where: str) -> None:
    """Check what a configuration says of things that our code cannot vary.

    Raises:
        WeightsError: one is set to something else.
    """
    for name, value in known.items():
        found = settings.get(name, value)
        if (tuple(found) if isinstance(found, list) else found) != (
            tuple(value) if isinstance(value, list) else value
        ):
            raise WeightsError(f"{where}: {name} is {found!r}; this code knows only {value!r}")


def read_json(path: Path) -> dict[str, Any]:
    """An object out of a JSON file.

    Raises:
        WeightsError: the file is missing or holds no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path} is missing; a checkpoint folder in the layout of diffusers has it"
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}; wanted is a JSON object")
    return content


def tensor_files(folder: Path, *, pickled: bool = False) -> list[Path]:
    """The safetensors of a part: one, or the pieces that its index lists; with `pickled` also torch's own file.

    Raises:
        WeightsError: there are none, or a piece is missing.
    """
    for stem in ("diffusion_pytorch_model", "model"):
        index = folder / f"{stem}.safetensors.index.json"
        if index.exists():
            pieces = sorted({folder / str(name) for name in read_json(index).get("weight_map", {}).values()})
            for piece in pieces:
                if not piece.is_file():
                    raise WeightsError(
                        f"{piece} is missing, which {index.name} lists; fetch the folder again"
                    )
            return pieces
        if (whole := folder / f"{stem}.safetensors").is_file():
            return [whole]
    if pickled and (whole := folder / "diffusion_pytorch_model.bin").is_file():
        return [whole]
    there = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    raise WeightsError(
        f"{folder} has no weights in safetensors; it holds {', '.join(there) or 'nothing'}. Wanted is "
        "diffusion_pytorch_model.safetensors or model.safetensors, or the index of its pieces"
    )


def fingerprint(*paths: Path) -> str:
    """64 hexadecimal digits that tell checkpoints apart without reading tens of gigabytes: a hash of every
    configuration in these files and folders, and of each tensor file's name, size and SAMPLES evenly spread samples."""
    digest = hashlib.sha256()
    for root in paths:
        inside = (path for end in ("json", "safetensors", "bin") for path in root.rglob(f"*.{end}"))
        for path in sorted(inside) if root.is_dir() else [root]:
            size = path.stat().st_size
            digest.update(f"{path.relative_to(root)}\0{size}\0".encode())
            if path.suffix == ".json":
                digest.update(path.read_bytes())
                continue
            with path.open("rb") as file:
                for number in range(SAMPLES):
                    file.seek(max(0, size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                    digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
