"""Networks out of checkpoint folders: strict, and never more than one copy in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hibari.contracts import MissingPart, WeightsError
from hibari.models.folder import read_json, tensor_files

SHOWN = 3  # keys that an error names


def diffusers_class(name: str) -> Any:
    """A class of diffusers, by its name.

    Raises:
        MissingPart: diffusers is not installed.
    """
    try:
        return getattr(import_module("diffusers"), name)
    except ImportError as error:
        raise MissingPart(
            f"the open models need the package {error.name or 'diffusers'}; "
            "install it with: pip install 'hibari[models]'"
        ) from error


def dtype_for(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a processor, where bfloat16 can be hundreds of times slower."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


class Part:
    """A network of a checkpoint folder. Its keys and shapes are checked when this is made; its tensors come into memory
    when `network` is first asked for, memory-mapped and straight onto the device, and go with `release`."""

    def __init__(
        self,
        folder: Path,
        class_name: str,
        *,
        device: torch.device,
        dtype: torch.dtype,
        fill: Callable[[Any], None] | None = None,
    ) -> None:
        """A part that is not in memory yet.

        Args:
            folder: with `config.json` and the safetensors.
            class_name: of diffusers.
            fill: computes the buffers that are in no file, on the CPU.

        Raises:
            MissingPart: diffusers is not installed.
            WeightsError: a file is missing or damaged, the configuration is another class's, or a tensor is missing,
                left over or of another shape.
        """
        self.config = read_json(folder / "config.json")
        if (said := self.config.get("_class_name", class_name)) != class_name:
            raise WeightsError(f"{folder / 'config.json'} is of a {said}; wanted is a {class_name}")
        self._folder, self._fill = folder, fill
        self._device, self._dtype = device, dtype
        self._files = tensor_files(folder)
        self._class = diffusers_class(class_name)
        self._network: Any = None
        self.parameters = _check(self._on_meta(), self._files, folder)

    @property
    def nbytes(self) -> int:
        """Of its tensors, once they are in memory."""
        return self.parameters * self._dtype.itemsize

    @property
    def network(self) -> Any:
        """The network with its weights, ready to run."""
        if self._network is None:
            network = self._on_meta()
            state = _read(self._files, self._device, self._dtype)
            network.load_state_dict(state, assign=True)
            if self._fill:
                self._fill(network)
            left = [name for name, tensor in _tensors(network).items() if tensor.is_meta]
            assert not left, f"{self._class.__name__} has tensors that nothing fills: {left}"
            self._network = network.to(self._device).eval().requires_grad_(False)
        return self._network

    def release(self) -> None:
        """Free its memory; the next use loads it again."""
        self._network = None

    def _on_meta(self) -> nn.Module:
        try:
            with torch.device("meta"):
                return self._class.from_config(dict(self.config))
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{self._folder / 'config.json'} fits no {self._class.__name__}: {error}"
            ) from error


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _check(network: nn.Module, files: list[Path], folder: Path) -> int:
    """Compare names and shapes without reading a tensor. Returns how many numbers there are."""
    wanted = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    there: dict[str, list[int]] = {}
    for path in files:
        with _opened(path) as file:
            there |= {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    missing, extra = sorted(wanted.keys() - there.keys()), sorted(there.keys() - wanted.keys())
    if missing or extra:
        raise WeightsError(
            f"the weights in {folder} do not fit their config.json: missing {_some(missing)}, left over {_some(extra)}"
        )
    for name, shape in there.items():
        if shape != wanted[name]:
            raise WeightsError(
                f"the weights in {folder} do not fit their config.json: {name} is {shape}, wanted {wanted[name]}"
            )
    return sum(torch.Size(shape).numel() for shape in there.values())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "nothing") + more


def _read(files: list[Path], device: torch.device, dtype: torch.dtype) -> Mapping[str, Tensor]:
    state: dict[str, Tensor] = {}
    for path in files:
        with _opened(path, str(device)) as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                tensor = file.get_tensor(name)
                state[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return state


def _opened(path: Path, device: str = "cpu") -> Any:
    try:
        return safe_open(path, framework="pt", device=device)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"the weights {path} cannot be read: {error}") from error


def silence(*libraries: str) -> None:
    """Keep progress bars and notices of the libraries off the terminal."""
    for library in libraries:
        with suppress(ImportError):
            logging = import_module(f"{library}.utils.logging")
            logging.set_verbosity_error()
            logging.disable_progress_bar()
