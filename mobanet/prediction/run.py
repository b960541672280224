"""Maps of rasters by a checkpoint: what `mobanet.predict` does once its command line is read; for scripts, too."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

import mobanet
from mobanet.checkpoints.data_state import DATA_STATE
from mobanet.data.description import DataDescription
from mobanet.data.training_rasters import TrainingRasters
from mobanet.errors import Stopped, UserError
from mobanet.evaluation.adaptation import adapted_scenarios
from mobanet.evaluation.temperature import TEMPERATURES, known_temperatures, temperature_words
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.loading.module import load_module
from mobanet.models.base import SegmentationModel
from mobanet.models.precision import remark, weight_dtype
from mobanet.prediction.areas import FinishedMap
from mobanet.prediction.assemble import assemble, map_tags
from mobanet.prediction.map_writer import GoOn, MapWriter
from mobanet.prediction.parts import PartRun, runs_of
from mobanet.prediction.plan import MapSettings, ScenePlan, fetched_folder, plan_scene
from mobanet.prediction.polygons import Legend
from mobanet.prediction.predictor import MapPredictor
from mobanet.prediction.request import GivenScene
from mobanet.prediction.samples import WindowBatch, WindowRules, ahead, batches_of, read_windows
from mobanet.prediction.scene import Scene, place
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.prediction.vector_writing import write_vectors
from mobanet.prediction.vectors import NO_VECTORS, VectorSettings
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.contents import Modality, step_of
from mobanet.rasters.values import Range, known_range
from mobanet.scenarios.scenario import Scenario, scenarios_of, usual_scenarios
from mobanet.scenarios.words import never_drawn, never_drawn_words
from mobanet.store.progress import TaskProgress


@dataclass(frozen=True)
class Model:
    """What a checkpoint says of its model, before the weights are loaded.

    Attributes:
        path: of the checkpoint.
        data: modalities and classes.
        learnt: by modality, (2, C), (3, C) where heights are taken above ground, what inputs are scaled by.
        windows: `size` and `stride` of the run's own test; None where it does not say.
        fingerprint: of the file.
        rasters: what it was trained on.
        never: names of the scenarios that it was not trained in.
        temperatures: by which its probabilities are calibrated, by name of the scenarios that have one.
        backbone: file with the weights of a frozen backbone, where they are not where the run had them.
        adapted: names of the scenarios that it has batch statistics of, taken after training.
        network: the model itself, where its weights were read with all that; None to load them from `path`.
    """

    path: Path
    data: DataDescription
    learnt: dict[str, np.ndarray]
    windows: Mapping[str, int] | None
    fingerprint: str
    rasters: TrainingRasters
    never: frozenset[str] = frozenset()
    temperatures: Mapping[str, float] = field(default_factory=dict)
    backbone: str | None = None
    adapted: Sequence[str] = ()
    network: SegmentationModel | None = None

    @property
    def modalities(self) -> dict[str, Modality]:
        """What it takes, by name."""
        return {modality.name: modality for modality in self.data.modalities}

    @property
    def step(self) -> int:
        """Windows and strides are multiples of it, in pixels."""
        return step_of(self.data.modalities)

    @property
    def ranges(self) -> dict[str, Range | None]:
        """By modality, the values that it was trained on, None for any."""
        return {name: known_range(m, self.data.scaling[name], self.learnt[name]) for name, m in self.modalities.items()}

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """All of its modalities'."""
        return scenarios_of(list(self.modalities))

    def place(self, given: GivenScene, reference: str | None, crs: str | None, resolution: str | None) -> Scene:
        """A scene's rasters checked against what the model takes, see `mobanet.prediction.scene.place`."""
        return place(given, self.modalities, reference, crs, self.ranges, self.rasters, resolution)


def describe_model(path: str | Path, backbone: str | None = None, option: str = "--ckpt_path") -> Model:
    """Read what a checkpoint says of its model.

    `backbone` is the file with the weights of a frozen backbone that it leaves out, where they have moved, and
    `option` what the user typed the path behind, for messages.

    Raises:
        UserError: when it cannot be read, or does not say how inputs are scaled.
    """
    checkpoint = read_checkpoint(path, option)
    state = checkpoint.get(DATA_STATE)
    if not isinstance(state, Mapping) or "scaling" not in state:
        raise UserError(f"{option} {path} does not say how its inputs are scaled; give one that mobanet.fit wrote.")
    data = DataDescription.from_plain(checkpoint["hyper_parameters"]["data"])
    learnt = {name: np.array(numbers) for name, numbers in state["scaling"].items()}
    rasters = TrainingRasters.from_plain(state.get("rasters"))
    names = [modality.name for modality in data.modalities]
    never = never_drawn(checkpoint["state_dict"], names)
    usual = [scenario.name for scenario in usual_scenarios(names)]
    temperatures = known_temperatures(checkpoint["state_dict"][TEMPERATURES], usual)
    about = state.get("windows"), fingerprint(Path(path)), rasters, never, temperatures, backbone
    return Model(Path(path), data, learnt, *about, adapted_scenarios(checkpoint))


def clear_way(
    scenes: Sequence[Scene],
    paths: Sequence[Path],
    settings: MapSettings,
    resume: bool,
    overwrite: bool,
    vectors: VectorSettings = NO_VECTORS,
) -> tuple[list[Scene], list[Path]]:
    """What is still to be predicted, with what is in the way gone.

    To resume leaves out scenes whose maps are there; to overwrite removes what an interrupted attempt has left, while
    maps are replaced when the new ones are finished.

    Raises:
        UserError: when a map or an interrupted attempt is there and neither was said.
    """
    if resume and overwrite:
        raise UserError("--resume goes on with what is there and --overwrite starts anew; give one of them.")
    left = []
    if vectors.zones is not None:
        own = vectors.zones.file.path.resolve()
        if any(own == file.resolve() for path in paths for file in vectors.files(settings.files(path)).all):
            raise UserError(f"{vectors.zones.file.path} is the file of --zones, which would be replaced: rename it.")
    sources = [raster.source.file.path for scene in scenes for raster in scene.rasters.values()]
    given = {path.resolve() for path in sources if isinstance(path, Path)}
    for scene, path in zip(scenes, paths, strict=True):
        files = vectors.files(settings.files(path))
        workspace = Workspace.of(path)
        if files.polygons and files.polygons == files.zones_copy:
            raise UserError(f"--polygons {files.polygons} is where zones are written to: name another file.")
        for file in files.all:
            if file.resolve() in given:
                raise UserError(f"{file} is a raster of --input, which the map would replace: name another --output.")
        there = [file for file in files.all if file.exists()]
        if overwrite:
            workspace.remove()
        elif workspace.settings() is not None:  # interrupted, perhaps while the files were being written
            if not resume:
                raise UserError(
                    f"{workspace.folder} holds an interrupted prediction: go on with --resume, or start anew with "
                    "--overwrite."
                )
        elif there and resume and len(there) == len(files.all):
            rank_zero_info(f"{path} is finished; left as it is")
            continue
        elif there:
            raise UserError(f"{there[0]} is there already: name another --output, or replace it with --overwrite.")
        left.append((scene, path))
    return [scene for scene, _ in left], [path for _, path in left]


def announce(model: Model, scenes: Sequence[Scene], settings: MapSettings) -> None:
    """Say on which grid, in which scenario and with which windows scenes are predicted."""
    # not a rank of Lightning's: nothing is launched yet, but its further processes start with this variable
    if int(os.environ.get("LOCAL_RANK", "0")):
        return
    for scene in scenes:
        missing = [name for name in model.modalities if name not in scene.rasters]
        without = f", without {', '.join(missing)}" if missing else ""
        grid = scene.grid
        place = f" in {grid.crs}" if grid.crs else ""
        rank_zero_info(
            f"{scene.id}: {grid.size} pixels of {scene.reference}{place}, from {'+'.join(scene.rasters)}{without}"
        )
        for note in scene.notes:
            rank_zero_info(f"{scene.id}: {note}")
        met = ["+".join(scene.rasters)], model.never, list(model.modalities), model.adapted
        if words := never_drawn_words(*met):
            rank_zero_info(f"{scene.id}: {words}")
    turns = ", mean over eight turns" if settings.turns else ""
    half = "" if settings.precision == "32-true" else f", in {settings.precision}"
    if settings.tells_probabilities:
        rank_zero_info(calibration_words(model, settings.calibrated))
    rank_zero_info(f"windows of {settings.window} pixels, stride {settings.stride}, {settings.blend}{turns}{half}")


def calibration_words(model: Model, calibrated: bool) -> str:
    """Which temperatures probabilities are at, calibrated where that is asked for and can be."""
    if not model.temperatures:
        return "probabilities are not calibrated: the checkpoint has no temperatures, which a validation in fit leaves"
    if not calibrated:
        return "probabilities are not calibrated (--calibrated false)"
    others = "; T is 1 in all other scenarios" if len(model.temperatures) < len(model.scenarios) else ""
    told = temperature_words(model.temperatures)
    return f"probabilities are calibrated by the checkpoint's temperatures: {told}{others}"


def launched(accelerator: str, devices: int, precision: Any) -> Fabric:
    """Devices and precision; further processes are started here."""
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
        fabric.launch()
        if precision.startswith("bf16") and (note := remark(precision, fabric.device.type)):
            rank_zero_info(note)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(
            f"--accelerator {accelerator} --devices {devices}: {' '.join(str(error).split()).rstrip('.')}."
        ) from error
    return fabric


def make_maps(
    model: Model,
    scenes: Sequence[Scene],
    paths: Sequence[Path],
    settings: MapSettings,
    fabric: Fabric,
    batch_size: int,
    vectors: VectorSettings = NO_VECTORS,
) -> list[FinishedMap]:
    """Predict scenes and write their maps; what an interrupted attempt has left is gone on with.

    Returns:
        In the first process, the maps as they are finished; nothing in the others.

    Raises:
        UserError: in the first process, for what went wrong in any of them.
    """
    if batch_size < 1:
        raise UserError(f"--batch_size is {batch_size}; give at least 1.")
    network = network_of(model, weight_dtype(settings.precision))  # before anything is begun
    try:
        return _Making(model, network, settings, fabric, batch_size, vectors).made(scenes, paths)
    finally:
        if fabric.global_rank == 0:
            for path in paths:
                shutil.rmtree(fetched_folder(path), ignore_errors=True)


@dataclass(frozen=True)
class _Making:
    """What one process makes maps with; as the arguments of `make_maps`."""

    model: Model
    network: SegmentationModel
    settings: MapSettings
    fabric: Fabric
    batch_size: int
    vectors: VectorSettings

    def made(self, scenes: Sequence[Scene], paths: Sequence[Path]) -> list[FinishedMap]:
        plans: list[ScenePlan] = []
        trouble: BaseException | None = None
        fabric = self.fabric
        try:
            if fabric.global_rank == 0:
                plans = _plans(self.model, scenes, paths, self.settings, self.vectors)
                for plan in plans:
                    plan.workspace.forget_trouble()
        except BaseException as error:
            trouble = error
        # all are told, since the others would wait for the first at the barrier
        if fabric.broadcast(trouble is not None):
            if trouble is not None:
                raise trouble
            return []
        if fabric.global_rank > 0:
            # after the first has begun the folders: what scenes are scaled by is found there, and not measured again
            try:
                plans = _plans(self.model, scenes, paths, self.settings, self.vectors)
            except BaseException as error:  # such as a raster that only this node does not see
                trouble = error
        # from each in turn, as words: an error itself may hold what cannot be sent to another process
        told = [fabric.broadcast(trouble and str(trouble), src=rank) for rank in range(1, fabric.world_size)]
        if any(text is not None for text in told):
            if fabric.global_rank > 0:
                return []  # the first process says it
            raise UserError(next(text for text in told if text is not None) or "another process was interrupted.")
        parts = [part for plan in plans for part in plan.parts]
        done = {part for plan in plans for part in plan.workspace.done(plan.parts)}
        fabric.barrier()  # nobody saves a part before all have seen the same ones
        jobs = runs_of(parts, done, fabric.global_rank, fabric.world_size)
        if done and fabric.global_rank == 0:
            rank_zero_info(f"going on with {len(done)} of {len(parts)} parts there")
        try:
            return self._work(plans, jobs)
        except BaseException as error:
            for plan in plans:
                if plan.workspace.folder.is_dir():
                    plan.workspace.tell(fabric.global_rank, str(error))
            if isinstance(error, KeyboardInterrupt):
                raise Stopped(_how_far(plans)) from error
            if fabric.global_rank > 0 and isinstance(error, UserError | OSError):
                return []  # the first process says it
            raise

    def _work(self, plans: Sequence[ScenePlan], jobs: Sequence[PartRun]) -> list[FinishedMap]:
        model, settings, fabric = self.model, self.settings, self.fabric
        predictor = MapPredictor(
            self.network.to(fabric.device, weight_dtype(settings.precision)),
            model.scenarios,
            settings.window,
            settings.blend,
            settings.turns,
            settings.probabilities,
            fabric.device,
            fabric.autocast,
            model.temperatures if settings.calibrated else None,
            settings.confidence,
        )
        rules = WindowRules(settings.window, settings.stride, settings.coverage, settings.gaps, model.step)
        grids = [plan.grid for plan in plans]
        sizes = [(grids[job.parts[0].scene].height, grids[job.parts[0].scene].width) for job in jobs]
        cut = rules.size, rules.stride, rules.step
        total = sum(len(job.windows(*size, *cut)) for job, size in zip(jobs, sizes, strict=True))
        first, parent = fabric.global_rank == 0, os.getppid()
        with ExitStack() as stack:
            # the first process tells of its own share, which is about as large as any other's
            steps = stack.enter_context(TaskProgress("predicting windows", total if first else 0))
            given, scalings = [plan.scene for plan in plans], [plan.scaling for plan in plans]
            samples = read_windows(jobs, given, scalings, model.modalities, rules, [plan.fetched for plan in plans])
            # closed here, and its thread with it, also where an error keeps hold of what is going on
            batches = stack.enter_context(closing(ahead(batches_of(samples, self.batch_size))))
            finish = self._finish if first else None
            writer = stack.enter_context(MapWriter(plans, finish))
            passed = 0

            def told() -> Iterator[WindowBatch]:
                nonlocal passed
                for batch in batches:
                    yield batch
                    if first:
                        steps.advance(batch.samples[-1].number + 1 - passed)
                        passed = batch.samples[-1].number + 1

            for part, maps in predictor.predict(told(), jobs):
                # the process that started this one is gone, or another has failed: nobody will put the map together
                if not first and (os.getppid() != parent or plans[part.scene].workspace.trouble()):
                    return []
                writer.save(part, maps)
            if first:
                steps.advance(total - passed)
            return writer.finish()

    def _finish(self, plan: ScenePlan, go_on: GoOn) -> FinishedMap:
        model, settings, scene = self.model, self.settings, plan.scene
        calibrates = settings.calibrated and settings.tells_probabilities and model.temperatures
        tags = map_tags(
            {
                "version": mobanet.__version__,
                "checkpoint": f"{model.path.name} {model.fingerprint}",
                "inputs": {name: raster.source.file.name for name, raster in scene.rasters.items()},
                "reference": scene.reference,
                "settings": asdict(settings),
                **({"temperatures": dict(model.temperatures)} if calibrates else {}),
            }
        )
        classes, scenarios = model.data.classes, model.scenarios
        # before the map, which has its name once all is there
        legend = Legend(classes.names, scenarios, tuple(model.modalities), classes.colours)
        more = write_vectors(plan, self.vectors, legend, go_on)
        counts = assemble(plan.workspace, plan.parts, plan.files, plan.grid, classes, scenarios, tags, go_on)
        plan.workspace.remove()
        shutil.rmtree(plan.fetched, ignore_errors=True)
        names = tuple(scenario.name for scenario in scenarios)
        return FinishedMap.of(scene.id, plan.files, plan.grid, counts, classes.names, names, model.never, more)


def _plans(
    model: Model, scenes: Sequence[Scene], paths: Sequence[Path], settings: MapSettings, vectors: VectorSettings
) -> list[ScenePlan]:
    # all before the folder of any is begun, so that a raster without a valid pixel leaves nothing behind
    measured: list[SceneScaling | None] = []
    for scene, path in zip(scenes, paths, strict=True):
        if Workspace.of(path).settings() is None:
            fetched = fetched_folder(path)
            shutil.rmtree(fetched, ignore_errors=True)
            known = model.modalities, model.data.scaling, model.learnt
            measured.append(SceneScaling.measured(scene, *known, fetched))
        else:
            measured.append(None)
    about = settings, len(model.data.classes), model.fingerprint
    each = enumerate(zip(scenes, paths, measured, strict=True))
    return [plan_scene(number, scene, path, *about, scaling, vectors) for number, (scene, path, scaling) in each]


def _how_far(plans: Sequence[ScenePlan]) -> str:
    """Parts of finished scenes have gone into their maps."""
    total = sum(len(plan.parts) for plan in plans)
    waiting = [plan for plan in plans if plan.workspace.folder.is_dir()]
    left = sum(len(plan.parts) - len(plan.workspace.done(plan.parts)) for plan in waiting)
    return f"SIGINT has stopped the prediction after {total - left} of {total} parts"


def network_of(model: Model, dtype: torch.dtype) -> SegmentationModel:
    """The network with its weights, which may be moved and turned into a type.

    One that the model holds stays as it is for the next prediction: to turn its weights would lose digits for good.
    """
    if model.network is None:
        return load_module(model.path, model.backbone).module.network
    alike = all(x.dtype == dtype for x in model.network.parameters() if x.is_floating_point())
    return model.network if alike else deepcopy(model.network)


def fingerprint(path: Path) -> str:
    """A few characters that tell files of other content apart."""
    with path.open("rb") as file:
        # of the content and not of path or time, so that with a copy of a checkpoint a prediction can go on
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
