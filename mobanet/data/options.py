"""What a user may choose about the data, checked against the layout."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from mobanet.data.crops import Sampling
from mobanet.datasets.base import LABEL_KINDS, LabelKind, Layout
from mobanet.datasets.scalings import Scaling, usual_scaling
from mobanet.errors import UserError
from mobanet.rasters.contents import Modality, ratios_of, step_of
from mobanet.rasters.ground import MOST, STEP


@dataclass
class EvaluationSettings:
    """How maps are put together in validation and test; what is null follows from the training crop.

    Attributes:
        window: height and width of a window in pixels; null for the training crop's.
        validation_stride: from window to window while training; null for a window, so that none overlap.
        test_stride: from window to window in the final test; null for half a window.
        batch_size: windows a step; null for the training batch's.
        labels: `eroded` ignores a margin around every object (ISPRS noBoundary), `full` ignores nothing.
    """

    window: int | None = None
    validation_stride: int | None = None
    test_stride: int | None = None
    batch_size: int | None = None
    labels: LabelKind = "eroded"

    def size(self, crop: int) -> int:
        """Height and width of a window in pixels, where `crop` is the training crop's."""
        return crop if self.window is None else self.window

    def stride(self, stage: str, crop: int, step: int = 1) -> int:
        """From window to window in pixels, in the stage `validation` or `test`; a multiple of `step` unless given."""
        window = self.size(crop)
        if stage == "test":
            # a window smaller than a step is refused (`check_steps`)
            # down to a whole step, as windows begin at whole pixels of every modality
            return max(window // 2 // step, 1) * step if self.test_stride is None else self.test_stride
        return window if self.validation_stride is None else self.validation_stride

    def check(self, crop: int) -> None:
        """Refuse sizes that make no sense."""
        window = self.size(crop)
        check_labels(**{"evaluation.labels": self.labels})
        batch = 1 if self.batch_size is None else self.batch_size
        check_numbers(**{"evaluation.window": window, "evaluation.batch_size": batch})
        for stage in ("validation", "test"):
            stride = self.stride(stage, crop)
            check_numbers(**{f"evaluation.{stage}_stride": stride})
            if stride > window:
                raise UserError(
                    f"--data.evaluation.{stage}_stride is {stride}, more than the window of {window} pixels, which "
                    f"would leave gaps; give at most {window}."
                )


_LEAST = {"crop": 16, "evaluation.window": 16, "num_workers": 0}


def check_numbers(**values: int) -> None:
    """Refuse numbers below the least that makes sense, which is 1 unless it is known to be another."""
    for option, value in values.items():
        least = _LEAST.get(option, 1)
        if value < least:
            raise UserError(f"--data.{option} is {value}; give a number of at least {least}.")


def check_labels(**values: str) -> None:
    """Refuse label rasters of a kind that there is not."""
    for option, value in values.items():
        if value not in LABEL_KINDS:
            raise UserError(f"--data.{option} is {value}; choose one of {', '.join(LABEL_KINDS)}.")


def check_sampling(sampling: str, share: float | None) -> None:
    """Refuse a way to draw crops that there is not, and a share of balanced ones that is none or that nothing draws."""
    if sampling not in get_args(Sampling):
        raise UserError(f"--data.sampling is {sampling}; choose one of {', '.join(get_args(Sampling))}.")
    if share is not None and sampling != "balanced":
        raise UserError(
            f"--data.balanced_share is {share:g}, which changes nothing while --data.sampling is {sampling}; leave it "
            "out, or set --data.sampling balanced."
        )
    if share is not None and not 0 < share <= 1:
        raise UserError(f"--data.balanced_share is {share:g}; give a number above 0 and up to 1.")


def check_ground(modalities: Mapping[str, Modality], scaling: Mapping[str, str], radius: int | None) -> None:
    """Refuse to take heights above the ground of what has none, and a radius that fits no lattice."""
    for name, modality in modalities.items():
        if scaling[name] == "ground" and modality.kind != "elevation":
            raise UserError(
                f"--data.scaling.{name} is ground, which is for elevation, and {name} is of the kind {modality.kind}; "
                "choose standard."
            )
    if radius is not None and radius not in range(STEP, MOST + 1, STEP):
        raise UserError(f"--data.ground_radius is {radius}; give a multiple of {STEP} pixels, at most {MOST}.")


def check_steps(modalities: Mapping[str, Modality], crop: int, evaluation: EvaluationSettings) -> None:
    """Refuse crops, windows and strides that would cut through pixels of a modality that is coarser than the grid."""
    ratios, step = ratios_of(modalities.values()), step_of(modalities.values())
    sizes = {"crop": crop, "evaluation.window": evaluation.size(crop)}
    sizes |= {f"evaluation.{stage}_stride": evaluation.stride(stage, crop, step) for stage in ("validation", "test")}
    for option, size in sizes.items():
        if size % step:
            coarse = [f"{name} by {ratio}" for name, ratio in ratios.items() if ratio > 1]
            low = size // step * step
            fitting = f"{low} or {low + step}" if low else f"{step}"
            raise UserError(
                f"--data.{option} is {size} pixels, and modalities have coarser ones ({', '.join(coarse)}), of which "
                f"it must have whole ones: give a multiple of {step}, such as {fitting}."
            )


def chosen_modalities(layout: Layout, given: Sequence[str] | str | None) -> dict[str, Modality]:
    """The modalities to use, in order; the layout's usual ones where none are named."""
    names = given.replace(" ", "").split(",") if isinstance(given, str) else given
    names = list(names or layout.default_modalities)
    _check_known(names, layout, "--data.modalities")
    if len(set(names)) < len(names):
        raise UserError(f"--data.modalities names a modality twice: {', '.join(names)}.")
    return {name: layout.modalities[name] for name in names}


def chosen_split(layout: Layout, name: str | None) -> str:
    """The name of a split, or of the layout's first."""
    name = name or next(iter(layout.splits))
    if name not in layout.splits:
        raise UserError(
            f"--data.split {name} is not a split of the layout {layout.name}; choose one of {', '.join(layout.splits)}."
        )
    return name


def chosen_scaling(
    layout: Layout, modalities: Mapping[str, Modality], given: Mapping[str, Scaling]
) -> dict[str, Scaling]:
    """How each modality is scaled: as given, or as the layout says, or as fits its kind."""
    _check_known(given, layout, "--data.scaling")
    return {name: given.get(name, usual_scaling(layout, modality)) for name, modality in modalities.items()}


def _check_known(names: Iterable[str], layout: Layout, option: str) -> None:
    for name in names:
        if name not in layout.modalities:
            raise UserError(
                f"{option} names {name}, which the layout {layout.name} does not have; it has "
                f"{', '.join(layout.modalities)}."
            )
