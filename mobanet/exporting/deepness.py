"""ONNX for Deepness, a plugin of QGIS that runs segmentation models on raster layers.

What it reads was taken from its documentation and source (release 0.6). It cuts square tiles from one layer, all bands
as stored and of any type, divides them by 255 without clipping, subtracts `standardization_mean`, divides by
`standardization_std`, and hands them to the only input of the model as (N, C, H, W) float32. Of the only output,
(N, K, H, W), values below the threshold become 0, and a pixel's class is the largest. Class 0 is what it calls the
background: what lies below the threshold, and what "without 0 class" leaves out. Neither nodata nor masks of the layer
reach the model; beyond the layer's edge, tiles are padded, with 0 where the layer has no nodata value.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from mobanet.errors import UserError
from mobanet.exporting import parity
from mobanet.exporting.describe import KEY, description
from mobanet.exporting.graph import BATCH, quiet, refused, traced, written_out_attention
from mobanet.exporting.onnx_file import converted, opened
from mobanet.exporting.pretrained import PretrainedModel
from mobanet.exporting.stacked import DIVISOR, StackedModel
from mobanet.scenarios.scenario import Scenario, chosen_scenarios

INPUT, OUTPUT = "image", "probabilities"

NOTHING = "no data"
"""Class 0."""

TOLERANCE = 1e-3
"""Largest difference of a probability; a pixel's class can only change where two are as near as that."""

_OPSET, _IR = 18, 8
"""Operators and file format that ONNX Runtime 1.14 reads; the plugin asks for no newer one than 1.17."""

_OVERLAP = 50
"""Per cent of a tile by which tiles overlap where the model does not say how it was tested."""


def chosen_scenario(model: PretrainedModel, given: str | None) -> Scenario:
    """The scenario that a user names; the full one by default."""
    names = [modality.name for modality in model.module.data.modalities]
    found = chosen_scenarios(given or "full", names, "--scenario")
    if len(found) > 1:
        raise UserError(f"--scenario {given} names {len(found)} scenarios; give one, such as {found[-1].name}.")
    return found[0]


def signature(model: StackedModel, tile: int) -> Iterator[str]:
    """What the layer has to hold, for people."""
    yield f"input    {INPUT} (B, {len(model.bands)}, {tile}, {tile}) float32: one layer with the bands"
    for number, band in enumerate(model.bands, 1):
        yield f"  {number:<6} {band.modality} {band.band}: {band.values}"
    yield f"output   {OUTPUT} (B, {model.num_outputs}, {tile}, {tile}) float32, class 0 is {NOTHING}"


def remarks(model: PretrainedModel, stacked: StackedModel, layer: bool = False) -> Iterator[str]:
    """What the user has to see to, unless the layer is made here."""
    rasters = model.training.rasters
    if rasters.side is None:
        yield "note     the model does not say how large its pixels are: set the resolution in the plugin"
    for modality in stacked.modalities:
        rule = rasters.rules.get(modality.name)
        if rule is not None and rule.factor != 1 and not layer:
            yield (
                f"note     in training values of {modality.name} were multiplied by {rule.factor:g}: the layer has to "
                "hold them so"
            )
    if stacked.datum == "window":
        yield "note     what is scaled by a whole scene is measured on each window, unlike in mobanet.predict"


def metadata(model: PretrainedModel, stacked: StackedModel, tile: int) -> dict[str, Any]:
    """What the plugin reads, by its own keys, and the description of all exports; of tiles of so many pixels a side."""
    names, windows, side = model.module.data.classes.names, model.windows, model.training.rasters.side
    overlap = round(100 * (1 - windows["stride"] / windows["size"])) if windows else _OVERLAP
    channels = [{"modality": band.modality, "band": band.band, "values": band.values} for band in stacked.bands]
    about = description(model.module, model.learnt, tile)
    about |= {"scenario": stacked.scenario.name, "datum": stacked.datum, "channels": channels}
    return {
        "model_type": "Segmentor",
        "class_names": dict(enumerate((NOTHING, *names))),
        # centimetres a pixel; where it is not known, the user has to set it
        **({} if side is None else {"resolution": float(f"{100 * side:.3g}")}),
        # its documentation has the one name, its source the other; the input's shape wins
        "tiles_size": tile,
        "tile_size": tile,
        "tiles_overlap": min(max(overlap, 0), _OVERLAP),
        "seg_thresh": 0.0,  # where there is nothing, the model says by class 0
        "seg_small_segment": 0,
        "standardization_mean": [0.0] * len(channels),
        "standardization_std": [1.0] * len(channels),
        KEY: about,
    }


def write_deepness(model: PretrainedModel, stacked: StackedModel, tile: int, path: Path) -> None:
    """Convert and write a stacked model, which is in eval mode and on the CPU, for tiles of so many pixels a side."""
    with written_out_attention(stacked.model.network):
        # the first of them has two samples: torch.export takes a size of 1 for a constant
        program = traced(stacked, next(random_images(stacked, tile)), {0: Dim(BATCH, min=1)})
    onnx = converted(program, [INPUT], OUTPUT, ({0: BATCH},), _OPSET)
    onnx.model.ir_version = _IR
    onnx.model.metadata_props.update({key: json.dumps(value) for key, value in metadata(model, stacked, tile).items()})
    with quiet(), refused("converted to ONNX"):
        onnx.save(str(path))


@torch.inference_mode()
def compare_deepness(stacked: StackedModel, path: Path, tile: int) -> str:
    """Run what was written beside the model, and say how far they differ."""
    session, differences, tolerance = opened(path), [], TOLERANCE
    for images in random_images(stacked, tile):
        with refused("run by ONNX Runtime"):
            found = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        expected = stacked(images)
        alike = found.shape == expected.shape
        # of other shapes torch might broadcast; NaN is refused below
        differences.append((found - expected).abs().max() if alike else torch.tensor(torch.nan))
    largest = torch.stack(differences).max().item()  # which keeps NaN
    # so turned that NaN is no agreement
    if not largest <= tolerance:
        # as much more as the network magnifies rounding; measured only now, as it costs a pass in float64
        tolerance *= parity.allowed(stacked.model, tile) / parity.TOLERANCE
    if not largest <= tolerance:
        raise UserError(
            f"the deepness export differs by {largest:.1e} from the model's probabilities, where {tolerance:.0e} is "
            "allowed, so that nothing was written; export another format, such as --format folder."
        )
    return (
        f"compared with the model in {len(differences)} batches, with holes and without a modality: largest difference "
        f"of a probability {largest:.1e} (allowed: {tolerance:.0e})"
    )


def random_images(stacked: StackedModel, tile: int) -> Iterator[Tensor]:
    """Inputs, (B, C, tile, tile): in pairs with holes in each modality, with one missing, padded, and one alone."""
    # the same images each time: an export that was refused is refused again
    generator = torch.Generator().manual_seed(0)
    spans = [_span(stacked, modality.name) for modality in stacked.modalities]
    low, high = (torch.tensor(ends) for ends in zip(*(span for spans in spans for span in spans), strict=True))
    counts = [len(modality.bands) for modality in stacked.modalities]
    for missing in range(len(counts) + 1):
        stored = low[:, None, None] + (high - low)[:, None, None] * torch.rand(
            2, len(low), tile, tile, generator=generator
        )
        # as the plugin pads beyond the layer's edge
        stored[1, :, : tile // 4, : tile // 3] = 0
        if missing < len(counts):
            first = sum(counts[:missing])
            stored[0, first : first + counts[missing]] = torch.nan
            stored[1, first : first + counts[missing], tile // 2 :, tile // 2 :] = torch.nan
        yield stored / DIVISOR
    yield stored[1:] / DIVISOR


def _span(stacked: StackedModel, name: str) -> list[tuple[float, float]]:
    """Of each band of a modality, values between which it may lie."""
    model = stacked.model
    if name in model.tile_wise:
        # such as heights in metres, or what is left when the layer is scaled already
        return [(20.0, 50.0) if stacked.datum == "window" else (0.0, 1.0)] * model.modalities[name]
    place = list(model.modalities).index(name)
    offset, scale = model.get_buffer(f"offset_scale_{place}")[0].tolist()
    return [(o, o + s) for o, s in zip(offset, scale, strict=True)]
