"""The LightningDataModule: prepared tiles in, batches of every modality out."""

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader

from mobanet.data.augment import Augmentation, AugmentationSettings
from mobanet.data.crops import GridWindows, RandomCrops, Sampling, crop_loader
from mobanet.data.description import DataDescription
from mobanet.data.options import (
    EvaluationSettings,
    check_ground,
    check_labels,
    check_numbers,
    check_sampling,
    check_steps,
    chosen_modalities,
    chosen_scaling,
    chosen_split,
)
from mobanet.data.probe_windows import ProbeWindows
from mobanet.data.reading import Sample, TileReader, TileWindow
from mobanet.data.sampler import CropSampler, ShareSampler, balanced_shares
from mobanet.data.scaling import SOME, learn, learnt_radius, offset_scale, ranged
from mobanet.data.training_rasters import TrainingRasters
from mobanet.data.wide_windows import ALL_INCOMPLETE, WideWindows, marks_of
from mobanet.datasets import FolderSettings, get_layout
from mobanet.datasets.base import LabelKind
from mobanet.datasets.catalogue import STORE_FILE
from mobanet.datasets.scalings import Scaling
from mobanet.errors import UserError
from mobanet.lightning_internals import batches_done, epochs_done
from mobanet.plain.collector import collector_at_rest
from mobanet.plain.wording import absent_note, shorten
from mobanet.rasters.contents import Modality, ratios_of, step_of
from mobanet.rasters.ground import Ground, radius_of
from mobanet.rasters.values import range_note
from mobanet.store.build import build_store
from mobanet.store.class_pixels import class_pixels
from mobanet.store.elevation import Grounds
from mobanet.store.patches import cut_store
from mobanet.store.stored import StoredTile, TileStore, default_store
from mobanet.store.summary import grid_words


class RasterDataModule(LightningDataModule):
    """Multimodal rasters as batches; see `mobanet.data.crops` for what a batch holds.

    Args:
        root: folder with the rasters or archives as they were downloaded.
        layout: how files are named: potsdam, vaihingen, dstl, hunan (or a variant of these two) or folder.
        store: where the prepared tiles are kept; null for mobanet_store inside root.
        folder: description of your own data, for the layout folder.
        modalities: those to use, in order, as a list or as `rgb,dsm`; null for the layout's usual ones.
        split: name of the tile lists; null for the layout's first.
        validation: `holdout` validates on tiles held out of training; `test` on the test tiles, and trains on the
            held-out tiles as well, as MoBaNet's authors do: a selection leak if checkpoints are chosen by it.
        train_labels: label rasters to train on: `full`, or `eroded`, whose margin around every object is not learnt, as
            MoBaNet's authors do.
        crop: height and width of a training crop in pixels.
        batch_size: crops a step, on each device.
        steps_per_epoch: steps an epoch, on each device.
        sampling: draw a crop's tile uniformly or in proportion to its area; `balanced` draws a share of the crops
            around a pixel of a class, each class as often, and the rest in proportion to area.
        balanced_share: of the crops, where sampling is balanced; null for half of them.
        augmentation: random geometry and colour.
        scaling: by modality, how stored values are scaled; the rest are scaled as fits their kind.
        ground_radius: pixels within which the ground under an elevation model is looked for (scaling `ground`), of its
            own where it has a `pixel_ratio`, a multiple of 256; null for the one nearest to 64 m, and 256 where the
            pixels' size is not known.
        evaluation: windows and labels of validation and test.
        allow_missing: accept tiles that lack a modality, and train on them without it.
        num_workers: processes that read crops, on each device; null to follow the number of cores.
        seed: of every draw.

    Raises:
        UserError: for an unknown layout, split or modality, and sizes that make no sense.
    """

    def __init__(
        self,
        root: str,
        layout: str = "potsdam",
        store: str | None = None,
        folder: FolderSettings | None = None,
        modalities: list[str] | str | None = None,
        split: str | None = None,
        validation: Literal["holdout", "test"] = "holdout",
        train_labels: LabelKind = "full",
        crop: int = 256,
        batch_size: int = 24,
        steps_per_epoch: int = 1000,
        sampling: Sampling = "tile",
        balanced_share: float | None = None,
        augmentation: AugmentationSettings = AugmentationSettings(),  # noqa: B008 - copied
        scaling: dict[str, Scaling] | None = None,
        ground_radius: int | None = None,
        evaluation: EvaluationSettings = EvaluationSettings(),  # noqa: B008
        allow_missing: bool = False,
        num_workers: int | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.layout = get_layout(layout, folder)
        self.store_path = Path(store) if store else default_store(self.root, self.layout.name)
        self.modalities = chosen_modalities(self.layout, modalities)
        self.split_name = chosen_split(self.layout, split)
        self.validation = validation
        self.train_labels = train_labels
        self.crop, self.batch_size, self.steps_per_epoch = crop, batch_size, steps_per_epoch
        self.sampling: Sampling = sampling
        self.balanced_share = balanced_share
        # copies: a default is one object for all data modules, and a caller may go on with what was given
        self.augmentation, self.evaluation = deepcopy(augmentation), deepcopy(evaluation)
        self.scaling = chosen_scaling(self.layout, self.modalities, scaling or {})
        self.ground_radius = ground_radius
        self.allow_missing = allow_missing
        self.num_workers = num_workers
        self.seed = seed
        check_sampling(sampling, balanced_share)
        check_labels(train_labels=train_labels)
        check_numbers(crop=crop, batch_size=batch_size, steps_per_epoch=steps_per_epoch, num_workers=num_workers or 0)
        check_ground(self.modalities, self.scaling, ground_radius)
        evaluation.check(crop)
        check_steps(self.modalities, crop, evaluation)
        self._prepared: TileStore | None = None
        self._roles: dict[str, list[StoredTile]] = {}
        self._learnt: dict[str, np.ndarray] = {}
        self._rasters = TrainingRasters()
        # of all stages: training and test may look at the same tiles, and a fit takes seconds
        self._fitted: dict[tuple[Path, int], Ground] = {}
        self._restored = False

    @property
    def description(self) -> DataDescription:
        """What the model has to know."""
        return DataDescription(
            self.layout.name, tuple(self.modalities.values()), dict(self.scaling), self.layout.classes
        )

    def _stride(self, stage: str) -> int:
        """From window to window in pixels."""
        return self.evaluation.stride(stage, self.crop, step_of(self.modalities.values()))

    @property
    def validates(self) -> bool:
        """Whether there are tiles to validate on, once set up; a training that never validates may lack them."""
        return bool(self._roles.get("validation"))

    def protocol(self, stage: Literal["validation", "test"]) -> dict[str, str]:
        """How the figures of a stage come about, in words, for every table and file they stand in."""
        kind = "test" if stage == "test" or self.validation == "test" else "held-out training"
        count = len(self._roles.get(stage, ()))
        stride = self._stride(stage)
        averaged = self.layout.classes.averaged
        split = self.layout.splits[self.split_name]
        return {
            "data": f"{self.layout.name}, split {self.split_name}, {count} {kind} "
            f"{'patch' if split.patch else 'tile'}{'' if count == 1 else 'es' if split.patch else 's'}"
            + (f"; {split.leak}" if split.leak else ""),
            "grid": grid_words(self._roles.get(stage) or self._roles.get("train") or ()),
            "labels": f"{self.evaluation.labels}; ignored pixels count nowhere",
            "windows": f"{self.evaluation.size(self.crop)} pixels, stride {stride}, logits summed",
            "mean F1 and mIoU": f"over {len(averaged)} of {len(self.layout.classes)} classes ({', '.join(averaged)})",
            "OA and kappa": "over all classes",
        }

    # Lightning's hooks

    def prepare_data(self) -> None:
        """Build the tile store where it is absent or a source has changed.

        A finished store is used as it is where the rasters themselves are not at hand.

        Raises:
            UserError: for every problem of the rasters, all at once.
        """
        if not self.root.exists() and (self.store_path / STORE_FILE).is_file():
            rank_zero_info(f"{self.root} is not there; using the tiles prepared in {self.store_path}")
            return
        self._prepared = build_store(
            self.layout,
            self.root,
            self.store_path,
            list(self.modalities),
            allow_missing=self.allow_missing,
            options="--data.",
        )

    def setup(self, stage: str | None = None) -> None:
        """Open the store and share its tiles out to training, validation and test.

        A training that never validates needs no tiles for it.

        Raises:
            UserError: when a part of the split has no tile at all, or none with the label rasters asked for.
        """
        # what has just been looked at is not read again; processes that have not prepared it open it here
        store, self._prepared = self._prepared, None
        # another process may have prepared it anew since
        if store is None or not store.is_unchanged():
            store = TileStore(self.store_path)
        lacking = [name for name in self.modalities if name not in store.modalities]
        if store.layout != self.layout.name or lacking:
            raise UserError(
                f"{self.store_path} was prepared for the layout {store.layout} with {', '.join(store.modalities)}, not "
                f"for {self.layout.name} with {', '.join(self.modalities)}; give another --data.store."
            )
        for name, modality in self.modalities.items():
            if (stored := store.modalities[name].pixel_ratio) != modality.pixel_ratio:
                raise UserError(
                    f"{self.store_path} has {name} in pixels {stored} times as wide as the grid's, and its pixel_ratio "
                    f"is {modality.pixel_ratio}; give that of the store, or another --data.store."
                )
        declared = self.layout.splits[self.split_name]
        if declared.patch:
            store = cut_store(store, declared.patch)
        if declared.leak and not self._roles:  # once, and not at each setup
            rank_zero_info(f"warning: split {self.split_name}: {declared.leak}")
        if declared.buffer is not None and self.crop - 1 > declared.buffer and not self._roles:
            rank_zero_info(
                f"warning: crops of {self.crop} pixels reach across the buffer of {declared.buffer} pixels around "
                f"ground that is held out; raise --data.folder.splits.buffer to {self.crop}"
            )
        self.layout.recall_split(store.description.get("split"))
        split = self.layout.resolve_split(self.split_name, store.tiles)
        train, validation = split.train, split.validation
        if self.validation == "test":
            train, validation = (*train, *validation), split.test
        roles = {"train": train, "validation": validation, "test": split.test}
        # without a trainer, `setup` was called by hand
        unvalidated = self.trainer is not None and self.trainer.limit_val_batches == 0
        needed = {"fit": ("train",) if unvalidated else ("train", "validation"), "validate": ("validation",)}
        for role in needed.get(stage or "fit", ("test",)):  # to test, and to predict
            # Lightning calls `setup` for each of its verbs; tiles are dealt out once
            if role in self._roles:
                continue
            labels = self.train_labels if role == "train" else self.evaluation.labels
            with collector_at_rest():
                self._roles[role] = self._present(store, role, roles[role], labels)
        if "train" in self._roles:
            self._learn(self._roles["train"])
        elif not self._learnt:
            # until a checkpoint brings its own numbers
            self._learn([store.tiles[name] for name in train if name in store.tiles])

    def state_dict(self) -> dict[str, Any]:
        """What is known of the training's rasters, the numbers that inputs are scaled by, and the test's windows.

        Lightning writes them into the checkpoint.
        """
        return {
            "scaling": {name: numbers.tolist() for name, numbers in self._learnt.items()},
            "windows": {
                "size": self.evaluation.size(self.crop),
                "stride": self._stride("test"),
            },
            "rasters": self._rasters.to_plain(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Scale as the checkpoint's model was trained, whatever tiles are here now.

        Raises:
            UserError: where its numbers are those of another scaling.
        """
        for name, numbers in state_dict["scaling"].items():
            above = self.scaling.get(name) == "ground"
            if name in self.scaling and above != (len(numbers) == 3):
                how = "another scaling than" if above else "the scaling"
                raise UserError(
                    f"--data.scaling.{name} is {self.scaling[name]}, and the checkpoint's model was trained with {how} "
                    "ground; give the one that it was trained with, or leave it out."
                )
        self._learnt = {name: np.array(numbers) for name, numbers in state_dict["scaling"].items()}
        self._rasters = TrainingRasters.from_plain(state_dict.get("rasters"))
        # so that a later `setup`, as that of a test behind the training, learns nothing anew
        self._restored = True

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Random crops, for as many steps as `steps_per_epoch` says."""
        tiles = self._roles["train"]
        dataset = RandomCrops(
            self._reader(tiles, self.train_labels, self.crop),
            self._offset_scale(tiles),
            self.crop,
            self.sampling,
            self.seed,
            Augmentation(self.augmentation, self._ranged(tiles)).build(),
            0.5 if self.balanced_share is None else self.balanced_share,
        )
        rank, world = self._rank()
        sampler = CropSampler(self.steps_per_epoch, self.batch_size, rank, world, self._position)
        # kept, as they have files open, and what a start costs is paid once
        return self._loader(dataset, sampler, self.batch_size, persistent=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Grid windows of the validation tiles."""
        return self._window_loader(self.windows("validation"))

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Grid windows of the test tiles."""
        return self._window_loader(self.windows("test"))

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Grid windows of the test tiles."""
        return self._window_loader(self.windows("test"))

    def wide_test_dataloader(self, margin: int) -> DataLoader[dict[str, Any]]:
        """As `test_dataloader`, each window with so many pixels around it (`mobanet.data.wide_windows`)."""
        tiles, window = self._roles["test"], self.evaluation.size(self.crop)
        reader = self._reader(tiles, self.evaluation.labels, ALL_INCOMPLETE)
        marks = {n: marks_of(n, len(m.bands), tiles, reader.grounds.get(n)) for n, m in self.modalities.items()}
        stride = self._stride("test")
        return self._window_loader(WideWindows(reader, self._offset_scale(tiles), window, stride, margin, marks))

    def windows(self, stage: Literal["validation", "test"]) -> GridWindows:
        """The windows that a stage evaluates, all of them, whatever the number of ranks."""
        tiles, window = self._roles[stage], self.evaluation.size(self.crop)
        reader = self._reader(tiles, self.evaluation.labels, window)
        return GridWindows(reader, self._offset_scale(tiles), window, self._stride(stage))

    def probe_windows(self) -> ProbeWindows:
        """Windows of the training tiles, of a crop's size and without overlap, in a fixed random order."""
        tiles = self._roles["train"]
        reader = self._reader(tiles, self.train_labels, self.crop)
        return ProbeWindows(GridWindows(reader, self._offset_scale(tiles), self.crop, self.crop), self.seed)

    def tiles(self, stage: Literal["train", "validation", "test"]) -> list[StoredTile]:
        """The tiles of a stage; `setup` must have been called for it."""
        return list(self._roles[stage])

    def class_pixels(self) -> list[int]:
        """Labelled pixels of each class in the training tiles; `setup` must have been called for training."""
        return class_pixels(self._roles["train"], self.train_labels).sum(0).tolist()

    def picture(self, tile: str, rows: slice, columns: slice) -> Sample:
        """Part of a test tile as stored, all on the tile's grid, with its label, for figures."""
        tiles = [t for t in self._roles["test"] if t.id == tile]
        bands, ratios = {name: len(m.bands) for name, m in self.modalities.items()}, ratios_of(self.modalities.values())
        reader = TileReader(tiles, bands, self.evaluation.labels, 1, ratios=ratios)
        # outwards to whole pixels of the coarsest modality
        (top, bottom), (left, right) = (
            (s.start // reader.step * reader.step, -(-s.stop // reader.step) * reader.step) for s in (rows, columns)
        )
        sample = reader.read(TileWindow(0, top, left, bottom - top, right - left))
        inner = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        return Sample(
            {name: x.repeat(ratios[name], 0).repeat(ratios[name], 1)[inner] for name, x in sample.inputs.items()},
            {name: x.repeat(ratios[name], 0).repeat(ratios[name], 1)[inner] for name, x in sample.valid.items()},
            None if sample.label is None else sample.label[inner],
        )

    # parts

    def _learn(self, training: Sequence[StoredTile]) -> None:
        if self._restored:
            return
        self._rasters = TrainingRasters.of(training, list(self.modalities))
        for name, modality in self.modalities.items():
            scaling = self.scaling[name]
            if scaling == "ground" and training:
                side = self._rasters.side
                # of a modality in pixels of its own, by their size
                radius = self.ground_radius or radius_of(side and side * modality.pixel_ratio)
                grounds = Grounds(training, name, radius, self._fitted)
                self._learnt[name] = learn(modality, scaling, training, radius, grounds)
            elif training or scaling == "minmax" or (scaling == "unit" and modality.maximum):
                self._learnt[name] = learn(modality, scaling, training)
                taken = scaling == "unit" and modality.maximum is None
                if taken and (note := range_note(modality, float(self._learnt[name][1].max()))):
                    rank_zero_info(f"note: {note}")

    def _ranged(self, tiles: Sequence[StoredTile]) -> dict[str, Modality]:
        """The modalities, each with its full range."""
        return {n: ranged(m, self.scaling[n], self._learnt.get(n), tiles) for n, m in self.modalities.items()}

    def _window_loader(self, dataset: GridWindows) -> DataLoader[dict[str, Any]]:
        rank, world = self._rank()
        by_tile = dataset.by_tile()
        # whole tiles, so that a tile's overlapping logits meet on one rank
        shares = balanced_shares([len(indices) for indices in by_tile], world)
        sampler = ShareSampler([[i for tile in share for i in by_tile[tile]] for share in shares], rank)
        # or workers of a validation would stay in memory through the training
        return self._loader(dataset, sampler, self.evaluation.batch_size or self.batch_size, persistent=False)

    def _loader(self, dataset: Any, sampler: Any, batch_size: int, persistent: bool) -> DataLoader[dict[str, Any]]:
        # pinning goes through the GPU's driver, and fails where there is none
        cuda = bool(self.trainer and getattr(self.trainer.strategy.root_device, "type", "cpu") == "cuda")
        workers = _workers(self.trainer.num_devices if self.trainer else 1)
        workers = workers if self.num_workers is None else self.num_workers
        return crop_loader(dataset, batch_size, sampler, workers, pin_memory=cuda, persistent=persistent)

    def _reader(self, tiles: Sequence[StoredTile], labels: LabelKind, size: int) -> TileReader:
        radii = {name: learnt_radius(self.scaling[name], numbers) for name, numbers in self._learnt.items()}
        grounds = {name: Grounds(tiles, name, radius, self._fitted) for name, radius in radii.items() if radius}
        for ground in grounds.values():
            ground.fit(most=SOME)  # once, rather than in every worker
        bands = {name: len(m.bands) for name, m in self.modalities.items()}
        return TileReader(tiles, bands, labels, size, grounds, ratios_of(self.modalities.values()))

    def _offset_scale(self, tiles: Sequence[StoredTile]) -> dict[str, np.ndarray]:
        for name in self.modalities:
            if name not in self._learnt:
                raise UserError(
                    f"how to scale {name} ({self.scaling[name]}) is learnt from training tiles, of which {self.root} "
                    "has none; evaluate with --ckpt_path, whose checkpoint holds the numbers."
                )
        return {
            name: offset_scale(m, self.scaling[name], self._learnt[name], tiles) for name, m in self.modalities.items()
        }

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _position(self) -> tuple[int, int]:
        """The epoch, and how many of its batches are done: not 0 where a run is resumed in the middle of one.

        Goes by what is processed: what is completed, Lightning brings up to date some time after restoring it.
        """
        if not self.trainer:
            return 0, 0
        begun, epochs = epochs_done(self.trainer)
        done, last = batches_done(self.trainer)
        # all batches of an epoch are done before Lightning counts it: the next one begins then
        if last or done >= self.steps_per_epoch:
            return epochs + (begun > epochs), 0
        return epochs, done

    def _present(self, store: TileStore, role: str, names: Sequence[str], labels: LabelKind) -> list[StoredTile]:
        found = [store.tiles[name] for name in names if name in store.tiles]
        listed = f"{', '.join(names[:4])}{', …' if len(names) > 4 else ''}"
        if not names:
            where = f"--data.folder.splits.{role}" if self.layout.name == "folder" else "another --data.split"
            way = "name some under" if self.layout.name == "folder" else "choose"
            tests, none = "validate on the test tiles with --data.validation test", "--trainer.limit_val_batches 0"
            other = f"; or {tests}, or train without validating with {none}" if role == "validation" else ""
            raise UserError(f"the split {self.split_name} has no {role} tiles: {way} {where}{other}.")
        if not found:
            raise UserError(
                f"none of the {role} tiles of the split {self.split_name} ({listed}) is below {self.root}; "
                f"it holds {', '.join(store.tiles) or 'no tile'}: add tiles, or choose another --data.split."
            )
        if len(found) < len(names):
            rank_zero_info(f"{role}: {len(found)} of the {len(names)} tiles of the split {self.split_name} are there")
        labelled = [tile for tile in found if labels in tile.labels]
        if not labelled:
            option = "train_labels" if role == "train" else "evaluation.labels"
            other = "full" if labels == "eroded" else "eroded"
            remedy = f", or set --data.{option} {other}" if any(other in tile.labels for tile in found) else ""
            kind = f"{labels} labels" if remedy else "labels"
            raise UserError(f"none of the {role} tiles below {self.root} has {kind}; add them{remedy}.")
        if len(labelled) < len(found):
            lacking = ", ".join(tile.id for tile in found if labels not in tile.labels)
            raise UserError(
                f"the {role} tiles {lacking} below {self.root} have no {labels} labels; add them or choose a split "
                "without these tiles."
            )
        if bare := [tile.id for tile in labelled if not any(tile.labels[labels].pixels)]:
            rank_zero_info(f"{role}: {len(bare)} of {len(labelled)} tiles have no labelled pixel: {shorten(bare)}")
            labelled = [tile for tile in labelled if tile.id not in bare]
            if not labelled:
                raise UserError(self._unlabelled(role))
        if role == "train":
            counts = np.sum([tile.labels[labels].pixels for tile in labelled], axis=0)
            if note := absent_note(counts, self.layout.classes.names, "training tile"):
                rank_zero_info(f"note: {note}")
        return labelled

    def _unlabelled(self, role: str) -> str:
        """The sentence on tiles without a labelled pixel."""
        buffer = self.layout.splits[self.split_name].buffer
        near = f", or lower --data.folder.splits.buffer, now {buffer}" if buffer and role != "test" else ""
        return f"no {role} tile below {self.root} has a labelled pixel; look at the labels with mobanet.check{near}."


def _workers(devices: int) -> int:
    """Processes that read for one of so many devices of this machine, which share its cores; torchrun says how many."""
    # those that this process may use; `cpu_count` knows all of the machine
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = max(devices, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return max(1, min(4, cores // local))
