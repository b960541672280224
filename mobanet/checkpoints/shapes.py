"""Names, shapes and kinds of a model's weights, known from its settings alone: nothing is computed or allocated."""

import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.overrides import TorchFunctionMode

import mobanet
from mobanet.checkpoints.checkpoint import check_names
from mobanet.checkpoints.frozen import backbone_tensors, left_out
from mobanet.checkpoints.tensors import trouble
from mobanet.errors import UserError

# what torch and timm begin weights with; the last four are steps of trunc_normal_
_FILLS = tuple(
    getattr(Tensor, name) for name in ("uniform_", "normal_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_")
)


class _Outline(TorchFunctionMode):
    """What building a model goes on with without values: no tensor is filled, and rates over depth are numbers."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in _FILLS:
            return args[0]  # in-place functions give the tensor that they are called on
        if function is torch.linspace:  # stochastic depth, read one by one
            kwargs = {**(kwargs or {}), "device": "cpu"}
        return function(*args, **(kwargs or {}))


def check_weights(
    checkpoint: Mapping[str, Any],
    source: str,
    kind: type[LightningModule],
    writer: str,
    remedy: str,
    prefix: str = "",
) -> None:
    """Refuse weights that are not those of the model that a checkpoint's settings describe.

    Args:
        checkpoint: with checked settings.
        source: where from, to begin messages with.
        kind: of the module.
        writer: the version that wrote it.
        remedy: what to do about a damaged one.
        prefix: of the names of the weights that have to be there.

    Raises:
        UserError: when there is no such model, or it is too large for this machine; naming the first weight that is
            absent, unknown, no plain tensor, or of another shape.
    """
    state = checkpoint["state_dict"]
    for name, value in state.items():
        if (problem := trouble(name, value)) is not None:
            raise UserError(f"{source} cannot be used: {problem}; {remedy}.")
    try:
        settings = json.dumps(checkpoint["hyper_parameters"])  # a text, as keys of the cache have to be hashable
        wanted = outline(kind, settings)  # type: ignore[arg-type] # a class can be hashed, whatever its objects can
    except UserError as error:
        raise UserError(f"{source}: {error.told()}") from error
    except Exception as error:  # libraries raise anything for settings that make no sense
        words = " ".join(str(error).split())[:200]
        raise UserError(
            f"{source} cannot be built by mobanet {mobanet.__version__} ({words}); it was written by {writer}: install "
            f"that version, or {remedy}."
        ) from error
    wanted = {name: value for name, value in wanted.items() if name.startswith(prefix)}
    elsewhere = backbone_tensors(wanted).keys() if left_out(checkpoint) is not None else ()
    try:
        check_names([*state, *elsewhere], wanted)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    for name, value in state.items():
        shape, floats = tuple(wanted[name].shape), wanted[name].is_floating_point()
        if tuple(value.shape) != shape or value.is_floating_point() != floats:
            found = f"{tuple(value.shape)} {value.dtype}".replace("torch.", "")
            wanted_words = f"{shape} of {'floats' if floats else 'whole numbers'}"
            raise UserError(
                f"{source} cannot be used: the weight {name} is {found} where {wanted_words} is expected; {remedy}."
            )


@lru_cache(maxsize=32)  # tensors without values take next to nothing
def outline(kind: type[LightningModule], settings: str) -> dict[str, Tensor]:
    """The state dict of a module as tensors without values.

    Args:
        kind: of the module.
        settings: hyper-parameters as JSON.

    Raises:
        UserError: for settings that fit nothing, and for a model that this machine's memory cannot hold.
    """
    with torch.device("meta"), _Outline():
        module = kind(**{**json.loads(settings), "restored": True})
    needed = sum(tensor.nbytes for tensor in chain(module.parameters(), module.buffers()))
    # Windows has no sysconf: there the model is built, or not
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > there:
        raise UserError(f"its model takes {needed / 1e9:.0f} GB, and this machine has {there / 1e9:.0f} GB of memory.")
    return module.state_dict()
