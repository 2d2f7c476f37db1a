"""Published checkpoint folders in the layout of diffusers, as far as torch is not needed to read them.

`model_index.json` names the pipeline's class; each part has a folder with its `config.json` and its safetensors.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hibari.contracts import WeightsError

SAMPLES, SAMPLE_BYTES = 16, 65536


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


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors of a part: one, or the pieces that its index lists.

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
    there = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    raise WeightsError(
        f"{folder} has no weights in safetensors; it holds {', '.join(there) or 'nothing'}. Wanted is "
        "diffusion_pytorch_model.safetensors or model.safetensors, or the index of its pieces"
    )


def fingerprint(folder: Path) -> str:
    """64 hexadecimal digits that tell checkpoints apart without reading tens of gigabytes: a hash of every
    configuration, and of each tensor file's name, size and SAMPLES evenly spread samples."""
    digest = hashlib.sha256()
    for path in sorted(path for end in ("json", "safetensors", "bin") for path in folder.rglob(f"*.{end}")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
            continue
        with path.open("rb") as file:
            for number in range(SAMPLES):
                file.seek(max(0, size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
