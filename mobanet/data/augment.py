"""Random geometry and colour: geometry drawn once for everything in a window, colour on optical bands only."""

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobanet.data.reading import Sample
from mobanet.errors import UserError
from mobanet.rasters.contents import Modality


@dataclass
class AugmentationSettings:
    """What is drawn at random for a training crop.

    Attributes:
        flips: horizontal and vertical flips, each with probability one half.
        turns: quarter turns, so that with the flips all eight orientations are equally likely.
        rotation: largest rotation in degrees, either way; 0 for none.
        zoom: largest relative change of scale; 0.25 draws from 0.8 to 1.25; 0 for none.
        colour: largest relative change of brightness and contrast of the optical modalities; 0 for none.
    """

    flips: bool = True
    turns: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    colour: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, low, high in (("rotation", 0, 180), ("zoom", 0, 4), ("colour", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"--data.augmentation.{name} is {value}; give a number from {low} to {high}.")


class Augmentation:
    """An albumentations pipeline whose every draw comes from a generator given with the sample.

    albumentations 2.0.8 draws the same values in every worker; with the state set for each sample it cannot.

    Args:
        settings: what to draw.
        modalities: tells which inputs are optical, and their full range.
    """

    def __init__(self, settings: AugmentationSettings, modalities: Mapping[str, Modality]) -> None:
        self.settings = settings
        self.modalities = dict(modalities)
        self._pipeline: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # whoever gets a copy builds its own: a class made within a function, as that of turns, cannot be pickled
        return {**self.__dict__, "_pipeline": None}

    def build(self) -> "Augmentation":
        """Build the pipeline, which imports albumentations and takes seconds.

        To be called before workers are forked: they share it then, and an import inside a forked worker would run into
        the import hooks of Weights & Biases, which refuse to work there.
        """
        if self._pipeline is None:
            self._pipeline = self._build()
        return self

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """A new sample; its arrays keep their sizes and dtypes."""
        self.build()
        if not self._pipeline.transforms:
            return sample
        # some of its steps draw from numpy's generator, others from one of Python's
        # anew for each sample: left alone, workers of 2.0.8 repeat themselves (AlbumentationsX issue 266)
        self._pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        inputs = {name: self._spread(name, self._to_range(name, array)) for name, array in sample.inputs.items()}
        targets = {self._key(name): array for name, array in inputs.items()}
        # spread like the values, as the same pixels have to come from the same places
        valid = {name: self._spread(name, array) for name, array in sample.valid.items()}
        targets |= {f"valid_{name}": self._surely_valid(array) for name, array in valid.items()}
        if sample.label is not None:
            targets["label"] = sample.label
        if "image" not in targets:
            # albumentations insists on one; it carries nothing but the size
            targets["image"] = np.zeros((*next(iter(inputs.values())).shape[:2], 1), np.uint8)
        out = self._pipeline(**targets)
        return Sample(
            {name: self._from_range(name, out[self._key(name)], array) for name, array in sample.inputs.items()},
            {name: self._wholly(name, out[f"valid_{name}"]) for name in sample.valid},
            None if sample.label is None else out["label"],
        )

    @property
    def _resamples(self) -> bool:
        """Whether values are interpolated, rather than put to other places."""
        return bool(self.settings.rotation or self.settings.zoom)

    def _spread(self, name: str, array: np.ndarray) -> np.ndarray:
        """An array in the grid's pixels, where all are turned about one centre and resampled alike.

        Flips and quarter turns leave coarser pixels whole, and need no others.
        """
        ratio = self.modalities[name].pixel_ratio
        return array if ratio == 1 or not self._resamples else array.repeat(ratio, 0).repeat(ratio, 1)

    def _gathered(self, name: str, array: np.ndarray) -> np.ndarray:
        """The inverse: the mean of the grid's pixels that one of its own covers."""
        ratio = self.modalities[name].pixel_ratio
        if ratio == 1 or not self._resamples:
            return array
        height, width = (side // ratio for side in array.shape[:2])
        parts = array.reshape(height, ratio, width, ratio, *array.shape[2:])
        means = parts.mean((1, 3), dtype=np.float32)
        return means if array.dtype.kind == "f" else np.rint(means).astype(array.dtype)

    def _wholly(self, name: str, valid: np.ndarray) -> np.ndarray:
        """Validity alike: of pixels of its own that are valid all over."""
        ratio = self.modalities[name].pixel_ratio
        if ratio == 1 or not self._resamples:
            return valid
        height, width = (side // ratio for side in valid.shape)
        # the least of them: a mean of measured and missing pixels is not measured
        return valid.reshape(height, ratio, width, ratio).min((1, 3))

    def _surely_valid(self, valid: np.ndarray) -> np.ndarray:
        """Pixels whose neighbours are valid, too, where values are interpolated between them; else all valid ones.

        A value between a measured pixel and one that is missing, which holds anything, is not measured; what is valid
        goes by the nearest pixel, whose neighbours reach as far as those that a value is made of.
        """
        import cv2

        if not self._resamples or valid.all():
            return valid
        # one pixel each way, as far as bilinear interpolation reaches
        return cv2.erode(valid, np.ones((3, 3), np.uint8))

    def _to_range(self, name: str, array: np.ndarray) -> np.ndarray:
        # colour changes work on 8 bit or on floats in 0..1
        if self._divided(name, array):
            return array.astype(np.float32) / np.float32(self.modalities[name].maximum)
        return array

    def _from_range(self, name: str, array: np.ndarray, original: np.ndarray) -> np.ndarray:
        array = self._gathered(name, array).reshape(original.shape)  # a single band may come back without its axis
        if not self._divided(name, original):
            return array
        array = array * np.float32(self.modalities[name].maximum)
        return (np.rint(array) if original.dtype.kind in "iu" else array).astype(original.dtype)

    def _key(self, name: str) -> str:
        """The pipeline's word for a modality: the first optical one is its `image`."""
        first = next((m.name for m in self.modalities.values() if m.kind == "optical"), None)
        return "image" if name == first else f"input_{name}"

    def _divided(self, name: str, original: np.ndarray) -> bool:
        """Whether an input is changed in 0..1: told by what it was, since floats look alike before and after."""
        jittered = self.settings.colour > 0 and self.modalities[name].kind == "optical"
        return jittered and original.dtype != np.uint8

    def _build(self) -> Any:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version otherwise
        import albumentations
        import cv2

        s = self.settings
        steps = []
        if s.turns and not s.flips:
            # p=1, since no turn is one of the four that it draws
            steps.append(albumentations.RandomRotate90(p=1.0))
        elif s.turns:
            steps.append(_fast_transpose(albumentations)(p=0.5))  # with both flips: all eight, each equally likely
        if s.flips:
            steps += [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
        if s.rotation or s.zoom:
            steps.append(
                albumentations.Affine(
                    rotate=(-s.rotation, s.rotation),
                    # inverse to one another: as far down as up
                    scale=(1 / (1 + s.zoom), 1 + s.zoom),
                    keep_ratio=True,  # or height and width would be scaled apart
                    # what turns in from outside mirrors the inside, so that it is valid and has a label
                    border_mode=cv2.BORDER_REFLECT_101,
                    interpolation=cv2.INTER_LINEAR,
                    mask_interpolation=cv2.INTER_NEAREST,  # no class between two, no height between roof and ground
                    p=1.0,
                )
            )
        if s.colour:
            # a fifth keeps its colours
            steps.append(albumentations.RandomBrightnessContrast(s.colour, s.colour, p=0.8))
        targets = {
            # as masks, metres stay metres: of floats in an image albumentations takes for granted that they are in 0..1
            self._key(name): "image" if modality.kind == "optical" else "mask"
            for name, modality in self.modalities.items()
            if self._key(name) != "image"
        }
        targets |= {f"valid_{name}": "mask" for name in self.modalities} | {"label": "mask"}
        # shapes are not compared, since coarser modalities have fewer pixels
        return albumentations.Compose(steps, additional_targets=targets, is_check_shapes=False)


_TRANSPOSED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Bytes of a pixel that OpenCV transposes; it refuses all others."""


def _fast_transpose(albumentations: Any) -> type:
    """The Transpose of albumentations on OpenCV's blocked transposition, ten times as fast as its strided copy."""
    import cv2

    class FastTranspose(albumentations.Transpose):  # type: ignore[misc] # of a library without types
        def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
            # OpenCV goes by bytes of a pixel, not by its bands
            if img.itemsize * (img.shape[2] if img.ndim == 3 else 1) not in _TRANSPOSED:
                return super().apply(img, **params)
            # reshaped, since OpenCV drops the axis of a single band
            return cv2.transpose(img).reshape(img.shape[1], img.shape[0], *img.shape[2:])

    return FastTranspose
