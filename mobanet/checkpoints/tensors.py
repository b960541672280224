"""Tensors out of a file: dense numbers in this machine's memory, or not."""

from typing import Any

import torch
from torch import Tensor

from mobanet.plain.schema import shown

# neither complex nor quantised numbers, of which no model here has any
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def trouble(name: Any, value: Any) -> str | None:
    """What is wrong with a weight, as a clause; None for a dense tensor of numbers in this machine's memory."""
    if not isinstance(name, str) or not name.isprintable():
        return f"a weight has the name {shown(name)}"
    if not isinstance(value, Tensor):
        return f"the weight {name} is {shown(value)} where a tensor is expected"
    if value.layout is not torch.strided or value.is_nested or value.device.type != "cpu":
        return f"the weight {name} is no dense tensor ({value.layout}, {value.device})".replace("torch.", "")
    if value.dtype not in (*_FLOATS, *_WHOLE):
        return f"the weight {name} is of the type {value.dtype}".replace("torch.", "")
    # with a stride of 0 a file of a kilobyte holds a tensor of any size, which the first copy would make room for
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        return f"the weight {name} has {value.numel()} numbers, and the file does not hold as many"
    return None
