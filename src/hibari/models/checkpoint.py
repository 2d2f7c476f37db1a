"""Networks out of checkpoints: strict, and never more than one copy in memory."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hibari.contracts import InvalidRequest, MissingPart, WeightsError
from hibari.models.folder import Source, Take

SHOWN = 3  # keys that an error names
QUANTISED = ("int8", "fp8")
_IN_A_BLOCK = re.compile(r"(^|\.)\d+\.")


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


class Part:
    """A network of a checkpoint. Its keys and shapes are checked when this is made; its tensors come into memory when
    `network` is first asked for, memory-mapped and straight onto the device, and go with `release`."""

    def __init__(
        self,
        source: Source,
        build: str | Callable[[Source], nn.Module],
        *,
        device: torch.device,
        dtype: torch.dtype,
        fill: Callable[[Any], None] | None = None,
        quantise: str = "",
        apart: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """A part that is not in memory yet.

        Args:
            source: where it comes from.
            build: a class of diffusers, or what makes the network of its configuration on the meta device.
            fill: computes the buffers that are in no file, on the CPU.
            quantise: nothing, or one of QUANTISED for the linear layers in the network's blocks: weights in 8 bits, a
                scale a row, and sums in `dtype`.
            apart: whether a module's tensors, by its name, stay in the files until `apart` is asked for them. `fill`
                must put something else in its place.

        Raises:
            MissingPart: diffusers, or what quantises, is not installed.
            WeightsError: a file is missing or damaged, the configuration is another class's, or a tensor is missing,
                left over or of another shape.
        """
        self._source, self._fill, self._apart = source, fill, apart
        self._build = _of_diffusers(build) if isinstance(build, str) else build
        self._device, self._dtype = device, dtype
        self._quantised = quantiser(quantise) if quantise else None
        self._network: Any = None
        self.config = source.config
        self.blank: Any = self._build(source)
        """The network on the meta device, without numbers: for its sizes."""
        _check(self.blank, source)

    @property
    def nbytes(self) -> int:
        """Of its tensors, once they are in memory; of quantised ones without their scales."""
        small = {f"{name}.weight" for name, _ in block_layers(self.blank)} if self._quantised else ()
        return sum(
            tensor.numel() * (1 if name in small else self._dtype.itemsize)
            for name, tensor in self.blank.state_dict().items()
            if not self._apart(name.rpartition(".")[0])
        )

    @property
    def network(self) -> Any:
        """The network with its weights, ready to run."""
        if self._network is None:
            network: Any = self._build(self._source).requires_grad_(False)
            layers = {layer for _, layer in block_layers(network)} if self._quantised else set[nn.Module]()
            for module, state in self._read(network, lambda name: not self._apart(name)):
                module.load_state_dict(state, assign=True, strict=False)
                if self._quantised and module in layers:
                    self._quantised(module)
            if self._fill:
                self._fill(network)
            left = [name for name, tensor in _tensors(network).items() if tensor.is_meta]
            assert not left, f"{type(network).__name__} has tensors that nothing fills: {left}"
            self._network = network.to(self._device).eval().requires_grad_(False)
        return self._network

    def apart(self) -> Iterable[dict[str, Tensor]]:
        """What each module that is kept apart has, by its names in the module, one after the other."""
        for _, state in self._read(self.blank, self._apart):
            yield state

    def release(self) -> None:
        """Free its memory; the next use loads it again."""
        self._network = None

    def _read(
        self, network: nn.Module, wanted: Callable[[str], bool]
    ) -> Iterable[tuple[nn.Module, dict[str, Tensor]]]:
        """Each module whose name is wanted and its own tensors, module by module."""
        files = {path: _File(path, str(self._device)) for path in self._source.files}
        homes = {
            prefix + key: (files[path], key)
            for path, prefix in self._source.files.items()
            for key in files[path].shapes
        }
        for name, module in network.named_modules():
            if not wanted(name):
                continue
            own = module.state_dict(keep_vars=True)
            state: dict[str, Tensor] = {}
            for short in (key for key in own if "." not in key):
                take = self._source.take(f"{name}.{short}" if name else short)
                file, key = homes[take.key]
                tensor = file.read(key, take)
                state[short] = tensor.to(self._dtype) if tensor.is_floating_point() else tensor
            if state:
                yield module, state


class _File:
    """Tensors of a file by their names, none of them read yet."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        try:
            if path.suffix == ".bin":
                self._all: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
                self.shapes = {name: list(tensor.shape) for name, tensor in self._all.items()}
                return
            self._all = None
            self._file: Any = safe_open(path, framework="pt", device=device)
            self.shapes = {name: self._file.get_slice(name).get_shape() for name in self._file.keys()}  # noqa: SIM118
        except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, AttributeError) as error:
            raise WeightsError(f"the weights {path} cannot be read: {error}") from error

    def read(self, key: str, take: Take) -> Tensor:
        """A tensor, or its pieces; without a copy where one piece lies in memory as it is wanted."""
        if take.of == 1:
            return self._all[key] if self._all is not None else self._file.get_tensor(key)
        whole = self._all[key] if self._all is not None else self._file.get_slice(key)
        rows = self.shapes[key][0] // take.of
        pieces = [whole[piece * rows : (piece + 1) * rows] for piece in take.pieces]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _of_diffusers(class_name: str) -> Callable[[Source], nn.Module]:
    kind = diffusers_class(class_name)

    def build(source: Source) -> nn.Module:
        if (said := source.config.get("_class_name", class_name)) != class_name:
            raise WeightsError(f"{source.where} is of a {said}; wanted is a {class_name}")
        try:
            with torch.device("meta"):
                return kind.from_config(dict(source.config))
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(
                f"the configuration of {source.where} fits no {class_name}: {error}"
            ) from error

    return build


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _check(network: nn.Module, source: Source) -> None:
    """Compare names and shapes without reading a tensor."""
    there: dict[str, list[int]] = {}
    for path, prefix in source.files.items():
        there |= {prefix + key: shape for key, shape in _File(path).shapes.items()}
    there = {key: shape for key, shape in there.items() if key.startswith(source.prefix)}
    wanted: dict[str, list[int]] = {}
    for name, tensor in network.state_dict().items():
        take = source.take(name)
        first, *rest = tensor.shape or (1,)
        whole = [first * take.of // len(take.pieces), *rest] if tensor.shape else []
        if wanted.setdefault(take.key, whole) != whole:
            raise WeightsError(f"{source.where}: {take.key} cannot be divided into what its network wants")
    missing = sorted(wanted.keys() - there.keys())
    extra = sorted(there.keys() - wanted.keys() - source.unused)
    if missing or extra:
        raise WeightsError(
            f"the weights in {source.where} do not fit their configuration: missing {_some(missing)}, "
            f"left over {_some(extra)}"
        )
    for key, shape in wanted.items():
        if there[key] != shape:
            raise WeightsError(
                f"the weights in {source.where} do not fit their configuration: {key} is {there[key]}, wanted {shape}"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "nothing") + more


def block_layers(network: nn.Module) -> Iterable[tuple[str, nn.Linear]]:
    """The linear layers of a network's repeated blocks: nearly all of its numbers, and not what leads in and out."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and is_in_a_block(name):
            yield name, module


def is_in_a_block(name: str) -> bool:
    """Whether a module or a tensor of this name is in one of the blocks that a network repeats: they have numbers."""
    return bool(_IN_A_BLOCK.search(name))


def quantiser(kind: str) -> Callable[[nn.Module], None]:
    """What makes the weights of a linear layer int8 or fp8 (e4m3), with a scale for each of its rows.

    Raises:
        InvalidRequest: there is no such kind.
        MissingPart: torchao is not installed.
    """
    if kind not in QUANTISED:
        raise InvalidRequest(
            f"quantise is {kind!r}; weights can be had in {' or '.join(QUANTISED)}", field="quantise"
        )
    logging.getLogger("torchao").setLevel(logging.ERROR)  # it tells of each GPU kernel that it cannot load
    try:
        ao: Any = import_module("torchao.quantization")
    except ImportError as error:
        raise MissingPart(
            "weights in 8 bits need the package torchao; install it with: pip install 'hibari[quantise]'"
        ) from error
    config = ao.Int8WeightOnlyConfig() if kind == "int8" else ao.Float8WeightOnlyConfig()

    def quantised(layer: nn.Module) -> None:
        try:
            ao.quantize_(layer, config)
        except (RuntimeError, NotImplementedError, AssertionError, ValueError) as error:
            raise MissingPart(f"torchao cannot make {kind} weights on this device: {error}") from error

    return quantised


def silence(*libraries: str) -> None:
    """Keep progress bars and notices of the libraries off the terminal."""
    for library in libraries:
        with suppress(ImportError):
            logging = import_module(f"{library}.utils.logging")
            logging.set_verbosity_error()
            logging.disable_progress_bar()
