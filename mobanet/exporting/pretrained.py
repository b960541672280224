"""Models as folders: `config.json`, `model.safetensors`, a model card and a STAC item, here or on the hub."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobanet.data.scaling import learnt_radius, tile_offset_scale
from mobanet.errors import UserError
from mobanet.exporting.card import model_card
from mobanet.exporting.deployed import AVAILABLE, TILE_WISE, DeployedModel, deployed, offset_scale_name
from mobanet.exporting.describe import KEY
from mobanet.exporting.files import move_all, scratch_beside
from mobanet.exporting.stac import ItemFacts, stac_item
from mobanet.exporting.weights import (
    Saved,
    Training,
    check_config,
    check_same,
    read_weights,
    restored,
    saved,
    write_weights,
)
from mobanet.plain.json_files import parse_json, read_json
from mobanet.rasters.blocks import origin_of, summarise
from mobanet.rasters.ground import Ground
from mobanet.rasters.statistics import describe
from mobanet.training.module import SegmentationModule

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, ITEM_FILE = "config.json", "model.safetensors", "README.md", "stac_item.json"
FILES = [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, ITEM_FILE]
"""All that a folder consists of."""


@dataclass(frozen=True)
class PretrainedModel:
    """A model with what it scales its inputs by.

    Attributes:
        module: in eval mode, on the CPU.
        learnt: by modality, (2, C), offset and scale of each band, as far as they are not taken from each tile; (3, C)
            where heights are taken above the ground, its radius in pixels in the third row.
        windows: `size` and `stride` of its evaluation in pixels; None where that is not known.
        training: what it was trained on, as far as that is known.
    """

    module: SegmentationModule
    learnt: dict[str, np.ndarray]
    windows: dict[str, int] | None = None
    training: Training = field(default_factory=Training)

    @property
    def deployed(self) -> DeployedModel:
        """The network with its scaling, as one module of one dict of tensors."""
        return deployed(self.module, self.learnt)

    @property
    def temperatures(self) -> dict[str, float]:
        """By name of the scenario, the T with which softmax(logits / T) is calibrated, where one was fitted."""
        return self.module.known_temperatures

    def offset_scale(self, modality: str, pixels: np.ndarray, valid: np.ndarray | None = None) -> Tensor:
        """What a modality is scaled by in one tile, (2, C): to be measured on all of the raster, not on a window.

        Args:
            modality: its name.
            pixels: (H, W, C) or (H, W), as stored.
            valid: (H, W) bool; None: floats count where they are finite, integers everywhere.

        Raises:
            UserError: when nothing was measured.
        """
        planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
        scaling, learnt = self.module.data.scaling[modality], self.learnt[modality]
        if scaling not in TILE_WISE:
            return torch.from_numpy(tile_offset_scale(scaling, learnt, None))
        if valid is None and np.issubdtype(planes.dtype, np.floating):
            valid = np.isfinite(planes).all(axis=2)
        if valid is not None and not valid.any():
            raise UserError(f"the raster of {modality} has no valid pixel; predict without {modality}.")
        bands = [describe(np.ascontiguousarray(planes[:, :, band]), valid) for band in range(planes.shape[2])]
        return torch.from_numpy(tile_offset_scale(scaling, learnt, bands))

    def heights(
        self,
        modality: str,
        pixels: np.ndarray,
        valid: np.ndarray | None = None,
        transform: Sequence[float] | None = None,
    ) -> np.ndarray:
        """Heights above the ground of an elevation raster, which the model takes in its place (scaling `ground`).

        To be taken of all of the raster, not of a window: the ground is looked for around each pixel.

        Args:
            modality: its name.
            pixels: (H, W, C) or (H, W), as stored.
            valid: (H, W) bool; None: where `pixels` is finite.
            transform: affine pixel-to-map coefficients (a, b, c, d, e, f) of the raster, by which two cuts of it are
                treated alike to the last digit; None where they are not known.

        Returns:
            Float32 of the same shape; NaN where nothing was measured.

        Raises:
            ValueError: when the model does not scale the modality so.
        """
        radius = learnt_radius(self.module.data.scaling[modality], self.learnt[modality])
        if radius is None:
            raise ValueError(f"{modality} is scaled by {self.module.data.scaling[modality]}, from values as stored")
        # astype() copies, so that the caller's array stays whole when holes are set to 0
        planes = (pixels[:, :, None] if pixels.ndim == 2 else pixels).astype(np.float32)
        there: np.ndarray = np.asarray(np.isfinite(planes).all(axis=2) if valid is None else valid, bool)
        planes[~there] = 0
        origin, size = origin_of(transform), (planes.shape[0], planes.shape[1])
        ground = Ground.fitted(summarise(lambda: [(planes, there)], *size, origin), size, origin, radius)
        heights = ground.heights(planes, there, 0, 0)
        heights[~there] = np.nan
        return heights.reshape(pixels.shape)

    @torch.inference_mode()
    def predict(
        self,
        inputs: Mapping[str, Tensor],
        available: Tensor | None = None,
        offset_scale: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Segment a batch.

        Args:
            inputs: by modality, (B, C, H, W) as stored, any H and W; NaN where a pixel was not measured. Those left out
                count as missing. Of modalities that are scaled above the ground, cuts of what `heights` gives.
            available: (B, M) bool in the order of the modalities; None: what `inputs` has.
            offset_scale: of `MODALITY` that are scaled tile by tile, (2, C) or (B, 2, C), from `offset_scale`.

        Returns:
            Logits (B, K, H, W), float32.

        Raises:
            ValueError: when there is no modality, or `offset_scale` of one is not there.
        """
        model = self.deployed
        unknown = inputs.keys() - model.modalities.keys()
        if unknown or not inputs:
            raise ValueError(f"this model takes the modalities {list(model.modalities)}, got {list(inputs)}")
        # whichever there is: its size by its ratio is the output's
        some, any_of = next(iter(inputs.items()))
        batch, *size = any_of.shape[0], *(side * model.ratios[some] for side in any_of.shape[2:])
        has = torch.tensor([name in inputs for name in model.modalities], device=any_of.device)
        feeds: dict[str, Tensor] = {}
        for name, bands in model.modalities.items():
            own = [side // model.ratios[name] for side in size]
            feeds[name] = inputs[name] if name in inputs else any_of.new_zeros(batch, bands, *own)
        # what is not handed in is missing, whatever `available` says
        feeds[AVAILABLE] = has.expand(batch, -1) if available is None else available & has
        measured = offset_scale or {}
        for name in model.tile_wise:
            if name in inputs and name not in measured:
                raise ValueError(
                    f"{name} is scaled tile by tile: give `offset_scale` with what `offset_scale()` measures"
                )
            # of a missing modality any numbers do, as nothing of it is there to be scaled
            alike = any_of.new_ones(2, model.modalities[name], dtype=torch.float32)
            given = measured[name] if name in inputs else alike
            feeds[offset_scale_name(name)] = given.to(any_of.device).expand(batch, 2, -1)
        return model(feeds)


def save_pretrained(
    module: SegmentationModule,
    scaling: Mapping[str, np.ndarray],
    folder: str | Path,
    card: str | None = None,
    windows: Mapping[str, int] | None = None,
    whole: bool = False,
    training: Training | None = None,
) -> Path:
    """Write a model as a folder of four files; files of these names that are there are replaced.

    Args:
        module: of the model.
        scaling: by modality, (2, C), the numbers that it scales by, as in a checkpoint.
        folder: to write.
        card: text of README.md; None for one that says what the module itself knows.
        windows: `size` and `stride` of the model's evaluation; None where that is not known.
        whole: write the weights of a frozen backbone, too, where they are published ones.
        training: what the model was trained on; None where that is not known.

    Raises:
        OSError: when the folder cannot be written.
    """
    folder = Path(folder)
    model = saved(module, scaling, windows, whole, training)
    text = model_card(module, scaling, windows=windows) if card is None else card
    about = ItemFacts(module, scaling, windows, training or Training(), name=folder.name)
    with scratch_beside(folder) as scratch:
        write_files(model, text, about, scratch)
        move_all(scratch, folder, CONFIG_FILE)
    return folder


def write_files(model: Saved, card: str, about: ItemFacts, folder: Path) -> None:
    """Write the four files of a model into a folder that is there; the STAC item says what is told of it."""
    write_weights(model, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(f"{json.dumps(model.config, indent=2)}\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    files = {"model": WEIGHTS_FILE, "configuration": CONFIG_FILE, "card": CARD_FILE}
    item = stac_item(about, {role: folder / name for role, name in files.items()})
    (folder / ITEM_FILE).write_text(f"{json.dumps(item, indent=2)}\n", encoding="utf-8")


def read_folder(folder: Path, source: str, backbone: str | Path | None = None) -> PretrainedModel:
    """The model of a folder, which the user calls `source`; a backbone left out is in a file or on the hub.

    Raises:
        UserError: when a file is not there or damaged, or the weights of the backbone cannot be had.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{source} has no {name}; give a folder that mobanet.export --format folder wrote.")
    try:
        config = read_json(folder / CONFIG_FILE)
    except ValueError as error:
        raise UserError(f"{source}: {CONFIG_FILE} is not valid JSON ({error}); export the model again.") from error
    state, metadata = read_weights(folder / WEIGHTS_FILE)
    model = _model(config, state, source, backbone)
    # last: where the configuration is no model at all, that is the better message
    check_same(config, metadata, source)
    return model


def read_model(file: Path, backbone: str | Path | None = None) -> PretrainedModel:
    """The model of a single safetensors file; as `read_folder`."""
    state, metadata = read_weights(file)
    try:
        config: Any = parse_json(metadata.get(KEY, "null"))
    except ValueError:
        config = None
    return _model(config, state, str(file), backbone)


def _model(config: Any, state: Mapping[str, Tensor], source: str, backbone: str | Path | None) -> PretrainedModel:
    check_config(config, source)
    module = restored(config, state, source, str(backbone) if backbone else None)
    learnt = {name: np.array(numbers) for name, numbers in config["scaling"].items()}
    training = Training.from_plain(config.get("training"), source)
    return PretrainedModel(module, learnt, config.get("windows"), training)
