"""Which arithmetic a machine trains in: what `auto` becomes, what to say of other choices, and TF32."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator, XLAAccelerator

from mobanet.errors import SettingError

AUTO = "auto"

Precision = Literal[
    "auto",
    "32-true",
    "bf16-mixed",
    "16-mixed",
    "bf16-true",
    "16-true",
    "64-true",
    "transformer-engine",
    "transformer-engine-float16",
    "bf16",
    "16",
    "32",
    "64",
    16,
    32,
    64,
]
"""What the setting takes: Lightning's own, and `auto`."""

Matmul = Literal["highest", "high", "medium"]
"""What `torch.set_float32_matmul_precision` takes; `high` is TF32 on GPUs that have it."""

CHECKPOINT_KEY = "precision"
"""Where a checkpoint says in which precision it was trained."""

_KINDS = {CPUAccelerator: "cpu", CUDAAccelerator: "cuda", MPSAccelerator: "mps", XLAAccelerator: "tpu"}

_BF16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")
"""Names of `torch.cpu.get_capabilities`; the last is ARM's."""

_AMPERE = 8
"""Major compute capability of the first NVIDIA GPUs that compute in bfloat16."""

_TRUE = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}


def resolved(
    asked: Precision | str | None,
    accelerator: str | Accelerator = "auto",
    devices: list[int] | str | int = "auto",
    strategy: Any = "auto",
) -> Any:
    """The precision that Lightning is given: `auto` is bf16-mixed where the hardware computes in it.

    Else it is 16-mixed on CUDA GPUs, whose loss Lightning scales, and 32-true on everything else.

    Raises:
        UserError: for `auto` on CUDA GPUs with a strategy that forks: GPUs can be asked once their driver is up, and
            then no process can be forked any more.
    """
    if asked != AUTO:
        return asked
    kind = accelerator_kind(accelerator)
    if kind == "cuda" and isinstance(strategy, str) and ("fork" in strategy or "notebook" in strategy):
        raise SettingError(
            "trainer.precision", f"auto does not go with `trainer.strategy` {strategy}; name a precision."
        )
    if computes_in_bf16(kind, devices):
        return "bf16-mixed"
    return "16-mixed" if kind == "cuda" and CUDAAccelerator.is_available() else "32-true"


def accelerator_kind(given: str | Accelerator) -> str:
    """`cpu`, `cuda`, `mps` or another: what Lightning makes of `auto` and `gpu` here."""
    if isinstance(given, Accelerator):
        return next((kind for kind_of, kind in _KINDS.items() if isinstance(given, kind_of)), "other")
    if given == "gpu":
        # as Lightning's connector has it
        return "mps" if MPSAccelerator.is_available() else "cuda"
    if given != AUTO:
        return given
    order = (XLAAccelerator, MPSAccelerator, CUDAAccelerator)
    return next((_KINDS[each] for each in order if each.is_available()), "cpu")


def computes_in_bf16(kind: str, devices: list[int] | str | int = "auto") -> bool:
    """Whether hardware has units for bfloat16; elsewhere it is emulated, in float32 and slowly.

    Args:
        kind: `cpu`, `cuda` or another.
        devices: of CUDA, as Lightning's; all of them must have such units.
    """
    if kind == "cpu":
        return _cpu_computes_in_bf16()
    if kind != "cuda" or not CUDAAccelerator.is_available():
        return False
    # ROCm's GPUs answer as CUDA does; torch's own check takes all of them for able, too
    if torch.version.hip:
        return True
    count = CUDAAccelerator.auto_device_count() if devices == AUTO else devices
    # not torch.cuda.is_bf16_supported, which knows the current device only
    chosen = CUDAAccelerator.parse_devices(count) or []
    return all(torch.cuda.get_device_capability(index)[0] >= _AMPERE for index in chosen)


def _cpu_computes_in_bf16() -> bool:
    # oneDNN alone has kernels for the units; it says yes to AVX-512 without them, too, on which it converts: 3 to 5
    # times as slow as float32
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(unit, False) for unit in _BF16_UNITS)


def explained(precision: str, asked: Any, kind: str) -> str:
    """A precision, and why it was taken if that was left to the machine."""
    if asked != AUTO:
        return precision
    name = {"cpu": "CPU", "cuda": "GPU"}.get(kind)
    if name is None:
        return f"{precision} (auto)"
    has = "computes in" if precision == "bf16-mixed" else "has no units for"
    return f"{precision} (auto: the {name} {has} bfloat16)"


def remark(precision: str, kind: str) -> str | None:
    """What somebody who asks for a precision should know; None where there is nothing to say."""
    if precision == "16-true":
        return (
            "16-true scales no loss, so that small gradients are lost in training; 16-mixed and bf16-true are sounder"
        )
    if not precision.startswith("bf16") or kind not in ("cpu", "cuda") or computes_in_bf16(kind):
        return None
    if kind == "cuda":
        return "the GPU has no units for bfloat16 and emulates it; --precision 16-mixed is faster"
    return (
        "the CPU has no units for bfloat16 and emulates it: steps of 17 times the length of 32-true were measured; "
        "--precision auto takes what the machine computes in"
    )


def weight_dtype(precision: Any) -> torch.dtype:
    """In which type a precision holds the weights."""
    return _TRUE.get(precision, torch.float32)


def trained_precision(checkpoint: Mapping[str, Any]) -> str | None:
    """In which precision a checkpoint was trained; None where it does not say."""
    found = checkpoint.get(CHECKPOINT_KEY)
    return found if isinstance(found, str) else None


@contextmanager
def matmul_precision(setting: Matmul | None) -> Iterator[None]:
    """Multiply float32 matrices so within; the process's own setting is back afterwards.

    Args:
        setting: of `torch.set_float32_matmul_precision`; None leaves it as it is.
    """
    # the setting is the process's: another model of it, such as in a notebook, must not go on with this one
    before = torch.get_float32_matmul_precision()
    if setting is not None:
        torch.set_float32_matmul_precision(setting)
    try:
        yield
    finally:
        if setting is not None:
            torch.set_float32_matmul_precision(before)
