"""Checkpoints of the authors' CBC and CBC-SLP, made by rule: the release's names and shapes, values from the names."""

import hashlib
import re
import zlib
from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

MODALITIES = ("RGB", "NIR", "SWIR")
Shapes = dict[str, tuple[int, ...]]


def authors_shapes(slp: bool) -> Shapes:
    shapes = dict(entries(slp))
    # A convolution's kernel is (1, 1, 1) where only its channels are said.
    return {name: (*shape, 1, 1, 1) if len(shape) == 2 and is_kernel(name) else shape for name, shape in shapes.items()}


def authors_lora_shapes(slp: bool, rank: int = 4) -> Shapes:
    """With LoRA on the attention of the multimodal transformer and on all early fusions."""
    wrapped = re.compile(r"(multimodal_transformer\..*\.fn\.fn\.(?:qkv|proj)|fusion\d\.conv)\.(weight|bias)")
    shapes: Shapes = {}
    for name, shape in authors_shapes(slp).items():
        match = wrapped.fullmatch(name)
        if match is None:
            shapes[name] = shape
            continue
        layer, leaf = match.groups()
        shapes[f"{layer}.base.{leaf}"] = shape
        if leaf == "weight":
            shapes[f"{layer}.lora_A.weight"] = (rank, *shape[1:])
            shapes[f"{layer}.lora_B.weight"] = (shape[0], rank, *shape[2:])
    return shapes


def is_kernel(name: str) -> bool:
    return name.endswith(".weight") and "_transformer." not in name


def with_bias(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.{part}", (width,)) for part in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.num_batches_tracked", ()


def entries(slp: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for m in MODALITIES:
        yield f"{m}_pos", (1, 512, 512)
        yield from encoder(f"{m}_encoder")
        yield from with_bias(f"{m}_encode_conv", 512, 64)
        yield from with_bias(f"{m}_decode_conv", 64, 512)
        yield from with_bias(f"qkv_{m}", 1536, 512)
        if slp:
            yield from with_bias(f"{m.lower()}_private_conv", 32, 512)
    if slp:
        yield from with_bias("shared_conv", 96, 192)
    yield "fused6_pos", (1, 512, 512)
    yield from with_bias("fused6_encode_conv", 512, 192)
    for name in (*MODALITIES, "multimodal"):
        attention, feed = (f"{name}_transformer.cross_{kind}_list.0.fn" for kind in ("attention", "ffn"))
        yield from with_bias(f"{attention}.norm", 512)
        yield f"{attention}.fn.qkv.weight", (1536, 512)
        yield from with_bias(f"{attention}.fn.proj", 512, 512)
        yield from with_bias(f"{feed}.norm", 512)
        yield from with_bias(f"{feed}.fn.net.0", 512, 512)
        yield from with_bias(f"{feed}.fn.net.3", 512, 512)
    yield from with_bias("multimodal_decode_conv", 192, 2048)
    for level, width in enumerate((24, 48, 96, 192, 192, 192), 1):
        yield from with_bias(f"fusion{level}.conv", width, width)
    yield from ((f"decoder_fuse.{name}", shape) for name, shape in decoder())


def encoder(prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{prefix}.e1_c1.weight", (64, 1, 3, 7, 7)
    yield from norm(f"{prefix}.e1_bn", 64)
    before = 64
    for stage, (depth, mid) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), 2):
        for block in range(depth):
            name = f"{prefix}.e{stage}.{block}"
            yield f"{name}.conv1.weight", (mid, before)
            yield f"{name}.conv2.weight", (mid, mid, 1, 3, 3)
            yield f"{name}.conv3.weight", (4 * mid, mid)
            for norms, width in enumerate((mid, mid, 4 * mid), 1):
                yield from norm(f"{name}.bn{norms}", width)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * mid, before)
                yield from norm(f"{name}.downsample.1", 4 * mid)
            before = 4 * mid
    for level, (wide, narrow) in enumerate(zip((64, 256, 512, 1024, 2048), (8, 16, 32, 64, 64), strict=True), 1):
        yield from with_bias(f"{prefix}.adapt{level}", narrow, wide)
    yield from with_bias(f"{prefix}.conv6", 64, 184)


def decoder() -> Iterator[tuple[str, tuple[int, ...]]]:
    for level, width in enumerate((24, 48, 96, 192, 192), 1):
        for layer, kernel in enumerate((1, 3, 1)):
            yield from with_bias(f"RFM{level}.fusion_layer.{layer}.conv", width, width, kernel, kernel, kernel)
    yield from with_bias("RFM5_reduce", 128, 192)
    before = 128
    for level, mid, out in ((4, 128, 64), (3, 32, 32), (2, 16, 16), (1, 8, 8)):
        yield from with_bias(f"d{level}_c1.conv", mid, before, 3, 3, 3)
        yield from with_bias(f"d{level}_c2.conv", out, 3 * out + mid, 3, 3, 3)
        yield from with_bias(f"d{level}_out.conv", out, out)
        before = out
    yield from with_bias("final_conv", 3, 8)
    for name, width in (("d4", 64), ("d3", 64), ("d2", 32), ("d1", 16), ("layer", 8)):
        yield from with_bias(f"seg_{name}", 1, width)


def manifest_hash(shapes: Shapes) -> str:
    lines = [
        f"{name} {'x'.join(map(str, shapes[name])) or 'scalar'}\n" for name in sorted(shapes, key=lambda n: n.encode())
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """In [-1, 1), float64: splitmix64 of the name's CRC-32 and the index."""
    t = np.arange(int(np.prod(shape)), dtype=np.uint64)
    t += np.uint64(((zlib.crc32(name.encode()) << 32) + 0x9E3779B97F4A7C15) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        t ^= t >> np.uint64(shift)
        t *= np.uint64(factor)
    t ^= t >> np.uint64(31)
    return ((t >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1).reshape(shape)


def authors_value(name: str, shape: tuple[int, ...]) -> Tensor:
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.tensor(0)
    value = uniform(name, shape)
    if last == "running_mean" or last == "bias":
        value *= 0.1
    elif last == "running_var":
        value = 1 + 0.5 * value
    elif name.endswith("_pos"):
        value *= 0.5
    elif len(shape) == 1:
        value = 1 + 0.1 * value
    else:
        value *= np.sqrt(3 * shape[0] / value.size)
    return torch.from_numpy(value)


def authors_state(slp: bool) -> dict[str, Tensor]:
    return {name: authors_value(name, shape) for name, shape in authors_shapes(slp).items()}


class ConvolveByPlanes(TorchFunctionMode):
    """Convolutions of one volume as sums over the kernel's taps: quick in float64, where torch unrolls whole volumes.

    Strides are along the depth only; kernels are cubes.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (convolve_by_planes if func is F.conv3d else func)(*args, **(kwargs or {}))


def convolve_by_planes(volume: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, *_) -> Tensor:
    if not len(volume):
        return F.conv3d(volume, weight, bias, stride, padding)
    padding, stride = (value if isinstance(value, int) else value[0] for value in (padding, stride))
    k, x = weight.shape[-1], F.pad(volume, (padding,) * 6)[0]
    height, width = (length - k + 1 for length in x.shape[2:])
    taps = weight.permute(3, 4, 0, 1, 2).flatten(3).flatten(0, 2)  # (k·k·out, in·k)
    planes = []
    for first in range(0, x.shape[1] - k + 1, stride):
        products = taps @ x[:, first : first + k].flatten(0, 1).flatten(1)
        products = products.unflatten(1, x.shape[2:]).unflatten(0, (k, k, -1))
        plane = torch.zeros(len(weight), height, width, dtype=x.dtype)
        for i, j in product(range(k), repeat=2):
            plane += products[i, j, :, i : i + height, j : j + width]
        planes.append(plane if bias is None else plane + bias[:, None, None])
    return torch.stack(planes, 1)[None]
