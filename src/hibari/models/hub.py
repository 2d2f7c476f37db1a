"""Published checkpoints, fetched from a hub: a place that speaks Hugging Face's API.

A file is written beside its place as `.part`, goes on where it broke off, and gets its name when its hash is the hub's.
A folder's `hibari.json` says where it is from, under which licence, and whether all of it is there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from hibari import catalog
from hibari.contracts import InputError, InvalidUrl, KeyRefused, NotFound, OutputError, WeightsError

WANTED = (
    "model_index.json", "*LICENSE*", "README.md",
    "transformer/*", "vae/*", "scheduler/*", "text_encoder*/*", "tokenizer*/*",
    "diffusion_transformer_*/*", "causal_video_vae/*", "latent_upsampler/*",
)  # fmt: skip
"""Of what a hub has of a model, the parts that Hibari reads, whichever of them there are."""
UNWANTED = ("*.bf16*", "*.fp16*", "*.fp8*", "*.msgpack", "*.h5", "*.onnx*")  # the same in other forms
PART = ".part"


@dataclass(frozen=True, slots=True)
class File:
    """A file that a hub has: its path in the model's folder, its size, and the hash of its content: sha256 where it is
    large, else git's of a blob."""

    path: str
    nbytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A model on a hub.

    Attributes:
        repo: OWNER/NAME.
        revision: the commit, which does not change while it is fetched.
        licence: its name, and a link where there is one.
        licence_text: the first file of that name, or nothing.
        files: those that are wanted.
    """

    repo: str
    revision: str
    licence: str
    licence_text: str
    files: tuple[File, ...]

    @property
    def nbytes(self) -> int:
        """Of all files."""
        return sum(file.nbytes for file in self.files)


class Hub:
    """A hub, and the token that it is shown."""

    def __init__(self, url: str, token: str | None) -> None:
        """Nothing is asked yet. Only this token is used, and none that another program has left on this machine."""
        self._url = url.rstrip("/")
        self._api = HfApi(endpoint=self._url, token=token or False)
        self._headers = build_hf_headers(token=token or False)

    def offer(self, repo: str, also: Sequence[str] = (), *, revision: str | None = None) -> Offer:
        """What there is of a model.

        Args:
            also: files that are wanted besides the usual ones.

        Raises:
            NotFound: there is no such model, or file in it.
            KeyRefused: it is shown only to some, and the token opens nothing.
            InvalidUrl: nobody answers.
        """
        with self._errors_of(repo):
            info = self._api.model_info(repo, revision=revision, files_metadata=True)
        there = {
            each.rfilename: File(
                each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else each.blob_id or ""
            )
            for each in info.siblings or ()
        }
        if missing := [path for path in also if path not in there]:
            near = ", ".join(path for path in there if path.endswith(".safetensors") and "/" not in path)
            raise NotFound(f"{repo} has no file {missing[0]}; it has: {near or 'no single files'}")
        files = tuple(
            file
            for path, file in there.items()
            if path in also
            or (any(fnmatch(path, each) for each in WANTED) and not any(fnmatch(path, no) for no in UNWANTED))
        )
        card: dict[str, Any] = info.card_data.to_dict() if info.card_data else {}
        name = str(card.get("license_name") or card.get("license") or "not stated")
        text = next((path for path in there if fnmatch(path, "*LICENSE*")), None)
        said = Offer(repo, info.sha or "main", name, "", files)
        link = card.get("license_link")
        return Offer(
            repo,
            said.revision,
            f"{name} ({link})" if link else name,
            self._read(said, text) if text else "",
            files,
        )

    def fetch(self, offer: Offer, folder: Path, on_file: Callable[[File, int], None]) -> None:
        """Bring an offer's files into a folder. What is there already, and right, is left; what broke off goes on.

        Args:
            on_file: is told each file, and its number from 1, before it is fetched.

        Raises:
            OutputError: there is no room, or the folder cannot be written.
            WeightsError: what came is not what the hub says; nothing of that file is kept.
            NotFound, KeyRefused, InvalidUrl: as `offer`.
        """
        missing = [file for file in offer.files if not _is_there(folder, file)]
        wanted = sum(file.nbytes - _part_bytes(_place(folder, file)) for file in missing)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error}") from error
        if wanted > free:
            raise OutputError(
                f"{offer.repo} takes {wanted / 1e9:.1f} GB more, and {folder} has room for {free / 1e9:.1f} GB; make "
                "room, or name another folder with --to or HIBARI_MODELS"
            )
        for number, file in enumerate(offer.files, 1):
            on_file(file, number)
            if file in missing:
                self._fetch(offer, file, folder)

    def _fetch(self, offer: Offer, file: File, folder: Path) -> None:
        place = _place(folder, file)
        part = _part(place)
        url = hf_hub_url(offer.repo, file.path, revision=offer.revision, endpoint=self._url)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab") as output, self._errors_of(offer.repo):
                have = output.tell()
                if have > file.nbytes:  # of something else
                    output.truncate(0)
                    have = 0
                http_get(
                    url, output, resume_size=have, headers=self._headers.copy(), expected_size=file.nbytes
                )
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise OutputError(
                    f"no room for {file.path} in {folder}; make some and pull again: it goes on where it stopped"
                ) from error
            if "Consistency check failed" not in str(error):
                raise OutputError(f"cannot write {file.path} in {folder}: {error}") from error
        if part.stat().st_size < file.nbytes:
            raise InvalidUrl(
                f"{self._url} broke off in {file.path}; pull again: it goes on where it stopped",
                field="HIBARI_HUB",
            )
        if (found := _digest(part, file)) != file.digest:
            part.unlink()
            raise WeightsError(
                f"{file.path} of {offer.repo} came damaged ({found[:12]}..., wanted {file.digest[:12]}...) and was "
                "removed; pull again"
            )
        part.replace(place)

    def _read(self, offer: Offer, path: str) -> str:
        output = BytesIO()
        with self._errors_of(offer.repo):
            url = hf_hub_url(offer.repo, path, revision=offer.revision, endpoint=self._url)
            http_get(url, output, headers=self._headers.copy())
        return output.getvalue().decode("utf-8", "replace")

    @contextmanager
    def _errors_of(self, repo: str) -> Iterator[None]:
        """What goes wrong with a hub, in our words."""
        try:
            yield
        except OfflineModeIsEnabled as error:
            raise InvalidUrl(
                "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing is fetched; unset it"
            ) from error
        except HFValidationError as error:
            raise NotFound(f"{repo!r} is no model on a hub; wanted is OWNER/NAME: {error}") from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status == 403 or isinstance(error, GatedRepoError):
                raise KeyRefused(
                    f"{self._url} shows {repo} only to those whom its owners allow ({status}): ask there, and put your "
                    "token into HIBARI_HUB_TOKEN"
                ) from error
            if status in (401, 404):
                raise NotFound(
                    f"{self._url} has no {repo}, or not for everybody ({status}): look at the name, and if the model "
                    "is yours to use, put your token into HIBARI_HUB_TOKEN"
                ) from error
            raise InvalidUrl(
                f"{self._url} answered {status} for {repo}; pull again later: it goes on where it stopped",
                field="HIBARI_HUB",
            ) from error
        except (httpx2.HTTPError, ConnectionError) as error:
            raise InvalidUrl(
                f"{self._url} does not answer ({type(error).__name__}); look at the network and HIBARI_HUB, and pull "
                "again: it goes on where it stopped",
                field="HIBARI_HUB",
            ) from error


def accepted(folder: Path) -> str:
    """The licence under which a folder was begun or fetched; "" for none."""
    try:
        said: Any = json.loads((folder / catalog.RECEIPT).read_bytes())
        return str(said["licence"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def note(folder: Path, offer: Offer, model: str, *, complete: bool) -> None:
    """Write a folder's receipt.

    Args:
        model: what in it is the model, where it is not the folder itself.

    Raises:
        OutputError: it cannot be written.
    """
    said = {
        "repo": offer.repo,
        "revision": offer.revision,
        "licence": offer.licence,
        "model": model,
        "complete": complete,
        "files": {file.path: file.digest for file in offer.files},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{catalog.RECEIPT}{PART}"
        part.write_text(json.dumps(said, indent=2) + "\n")
        part.replace(folder / catalog.RECEIPT)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error}") from error


def _place(folder: Path, file: File) -> Path:
    place = folder / file.path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"the hub names a file {file.path!r}, which would lie outside {folder}")
    return place


def _part(place: Path) -> Path:
    return place.with_name(place.name + PART)


def _part_bytes(place: Path) -> int:
    part = _part(place)
    return part.stat().st_size if part.exists() else 0


def _is_there(folder: Path, file: File) -> bool:
    place = _place(folder, file)
    return place.is_file() and place.stat().st_size == file.nbytes and _digest(place, file) == file.digest


def _digest(path: Path, file: File) -> str:
    """The content's hash, of the kind that the hub has of this file."""
    if len(file.digest) == 64:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
