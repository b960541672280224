"""Whether what was exported computes what the checkpoint computes: random inputs, in every scenario."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mobanet.errors import UserError
from mobanet.exporting.deployed import AVAILABLE, DeployedModel, offset_scale_name
from mobanet.scenarios.scenario import scenario_masks, usual_scenarios

TOLERANCE = 1e-4
"""Largest difference allowed, as a share of the largest logit.

The same float32 sums in another order differ by about 1e-6 of the largest logit, and a wrong operator by a large part
of it; 1e-4 lies between. A pixel's class can only change where two classes are as near as that.
"""

ROUNDING, MOST = 10.0, 1e-2
"""A network may magnify rounding itself (CBC's instance norms do): then as many times its own error in float32,
measured against float64, are allowed, but never more than `MOST`."""

# two sizes, as a batch that tracing has made a constant fits one of them alone
BATCHES = (1, 3)

Runner = Callable[[dict[str, Tensor]], Tensor]
Feeds = dict[str, Tensor]


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Attributes:
        largest: difference of two logits, as a share of the largest logit.
        tolerance: what was allowed.
        scenarios: number of scenarios compared, each in batches of `BATCHES`.
    """

    largest: float
    tolerance: float
    scenarios: int

    def described(self) -> str:
        """In a line."""
        count = "1 scenario" if self.scenarios == 1 else f"{self.scenarios} scenarios"
        batches = " and ".join(map(str, BATCHES))
        return (
            f"compared with the checkpoint in {count}, batches of {batches}: largest difference {self.largest:.1e} of "
            f"the largest logit (allowed: {self.tolerance:.0e})"
        )


@torch.inference_mode()
def compare(model: DeployedModel, exported: Runner, tile: int, what: str, tolerance: float = TOLERANCE) -> Parity:
    """Run both on the same random inputs, of the same `tile` in pixels.

    A `tolerance` of 0 is for where the same code runs.

    Raises:
        UserError: when they differ by more, or one gives a number that is not finite.
    """
    # the largest logit is that of all batches: in a single one it may be small by chance
    differences, sizes = [], []
    for feeds in random_feeds(model, tile):
        expected, found = model(feeds), exported(feeds)
        if found.shape != expected.shape:
            raise _differs(what, f"gives logits of shape {tuple(found.shape)} instead of {tuple(expected.shape)}")
        differences.append((found - expected).abs().max())
        sizes.append(expected.abs().max())
    # a maximum of tensors keeps NaN, Python's own does not
    # the clamp: of logits that are all 0, 0 / 0 would be no agreement
    largest = (torch.stack(differences).max() / torch.stack(sizes).max().clamp(min=1e-30)).item()
    # so turned that NaN is no agreement
    if not largest <= tolerance and tolerance:
        tolerance = allowed(model, tile, tolerance)
    if not largest <= tolerance:
        raise _differs(what, f"differs by {largest:.1e} of the largest logit, where {tolerance:.0e} is allowed")
    return Parity(largest, tolerance, len(usual_scenarios(list(model.modalities))))


@torch.inference_mode()
def allowed(model: DeployedModel, tile: int, tolerance: float = TOLERANCE) -> float:
    """The largest difference that is rounding, as a share of the largest logit, on this processor.

    Processors sum in different orders and widths, so how much a network magnifies that is measured where it runs.
    """
    return max(tolerance, min(ROUNDING * _own_rounding(model, tile), MOST))


def random_feeds(model: DeployedModel, tile: int) -> Iterator[Feeds]:
    """Inputs in every scenario, in batches of 1 and of 3; in those of 3 the samples are in different scenarios.

    In the last sample of each batch of 3 a part of each modality was not measured.
    """
    generator = torch.Generator().manual_seed(0)
    patterns = scenario_masks(usual_scenarios(list(model.modalities)))
    for batch in BATCHES:
        for first in range(len(patterns)):
            # neighbours in a batch have other scenarios: each sample has to go by its own
            available = patterns[(first + torch.arange(batch)) % len(patterns)]  # (B, M)
            feeds = {name: torch.empty(0) for name in model.inputs} | {AVAILABLE: available}
            for place, (name, bands) in enumerate(model.modalities.items()):
                offset_scale = _offset_scale(model, place, name, (batch, 2, bands), generator)
                offset, scale = offset_scale[..., None, None].unbind(1)  # (B, C, 1, 1)
                side = tile // model.ratios[name]
                feeds[name] = offset + scale * torch.rand(batch, bands, side, side, generator=generator)
                if batch > 1:
                    feeds[name][-1, :, : side // 3, : side // 2] = torch.nan
                if name in model.tile_wise:
                    feeds[offset_scale_name(name)] = offset_scale.contiguous()
            yield feeds


def _offset_scale(
    model: DeployedModel, place: int, name: str, shape: tuple[int, int, int], rng: torch.Generator
) -> Tensor:
    """Offsets and scales, (B, 2, C): the model's own, or those of some tile."""
    if name not in model.tile_wise:
        return model.get_buffer(f"offset_scale_{place}").expand(shape)
    # such as of heights: from 0 to 100 metres, divided by 1 to 10
    return torch.rand(shape, generator=rng) * torch.tensor([[100.0], [9.0]]) + torch.tensor([[0.0], [1.0]])


def _own_rounding(model: DeployedModel, tile: int) -> float:
    """What float32 itself does to the logits, as a share of the largest, in one sample of the full scenario."""
    # the first has one sample
    feeds = next(random_feeds(model, tile))
    feeds[AVAILABLE] = torch.ones_like(feeds[AVAILABLE])
    exact = copy.deepcopy(model.network).double()  # double() would change the model itself
    inputs, available = model.prepare(feeds)
    expected = exact({name: x.double() for name, x in inputs.items()}, available, auxiliary=False).logits
    return ((model(feeds) - expected).abs().max() / expected.abs().max()).item()


def _differs(what: str, how: str) -> UserError:
    return UserError(
        f"{what} {how} on the same inputs, so that nothing was written; export another format, such as --format folder."
    )
