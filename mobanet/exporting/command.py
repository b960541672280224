"""What `mobanet.export` does once its command line is read: write beside, compare, and only then give the name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mobanet.errors import UserError
from mobanet.exporting.card import model_card
from mobanet.exporting.deployed import DeployedModel, deployed
from mobanet.exporting.describe import description, signature
from mobanet.exporting.files import check_place, move_all, scratch_beside
from mobanet.exporting.hub import OPTION, check_push, push
from mobanet.exporting.onnx_file import check_packages, run_onnx, write_onnx
from mobanet.exporting.parity import TOLERANCE, Runner, compare
from mobanet.exporting.pretrained import CONFIG_FILE, FILES, read_folder, read_model, write_files
from mobanet.exporting.run_facts import RunFacts, run_facts
from mobanet.exporting.tiles import chosen_tile
from mobanet.exporting.torch_file import run_program, write_program
from mobanet.exporting.weights import Training, saved, write_weights
from mobanet.training.data_state import DATA_STATE
from mobanet.training.frozen import LEFT_OUT
from mobanet.training.loading import load_module
from mobanet.training.module import SegmentationModule

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors", "folder": ""}
GRAPHS = ("onnx", "torch")


@dataclass(frozen=True)
class ExportRequest:
    """What the user asks for; see `mobanet.export.export`.

    Attributes:
        checkpoint: to export.
        output: where to; None for beside the checkpoint.
        format: of what is written.
        tile: height and width in pixels; None for what fits.
        whole: whether a folder has all weights.
        backbone: file with the weights of a left-out backbone.
        licence: of the model.
        repository: on the hub; None to upload nothing.
    """

    checkpoint: Path
    output: Path | None
    format: Literal["onnx", "torch", "safetensors", "folder"]
    tile: int | None = None
    whole: bool = False
    backbone: str | None = None
    licence: str | None = None
    repository: str | None = None

    @property
    def place(self) -> Path:
        """Where the export goes."""
        return self.output or self.checkpoint.with_suffix(SUFFIXES[self.format])

    def check(self) -> None:
        """Refuse what cannot succeed, before any work is done.

        Raises:
            UserError: naming the option.
        """
        folder = self.format == "folder"
        for option, given in ((OPTION, self.repository), ("--license", self.licence)):
            if given and not folder:
                raise UserError(f"{option} is for --format folder, not for {self.format}; leave it out.")
        if self.whole and not folder:
            raise UserError(f"--weights full is for --format folder; {self.format} always has all weights.")
        if self.tile is not None and self.format not in GRAPHS:
            raise UserError(
                f"--tile is for --format onnx and torch; a model in the format {self.format} takes any size."
            )
        if self.repository:
            check_push(self.repository)
        if self.format == "onnx":
            check_packages()


@dataclass(frozen=True)
class Source:
    """A checkpoint opened.

    Attributes:
        module: in eval mode, on the CPU.
        learnt: by modality, (2, C), the numbers that it scales by.
        windows: `size` and `stride` of its evaluation; None where it does not say.
        facts: of its run.
        model: the network with its scaling.
        training: what it was trained on.
    """

    module: SegmentationModule
    learnt: dict[str, np.ndarray]
    windows: dict[str, int] | None
    facts: RunFacts
    model: DeployedModel
    training: Training


def run_export(request: ExportRequest) -> Iterator[str]:
    """Export a checkpoint; what it says comes line by line.

    Args:
        request: what to write.

    Raises:
        UserError: when the checkpoint cannot be read or exported, the export computes something else, or the hub
            refuses it.
        OSError: when it cannot be written.
    """
    request.check()
    source = open_checkpoint(request.checkpoint, request.backbone)
    place = request.place
    check_place(place, request.format == "folder")
    names = [modality.name for modality in source.module.data.modalities]
    yield f"network  {source.module.settings.architecture}, {source.module.settings.described()}"
    trained = source.windows["size"] if source.windows else source.facts.trained_tile
    tile = chosen_tile(source.model.network, request.tile, trained)
    with scratch_beside(place) as scratch:
        file = scratch / place.name
        if request.format in GRAPHS:
            yield from signature(source.model, tile)
            about = description(source.module, source.learnt, tile)
            write, runner = (write_onnx, run_onnx) if request.format == "onnx" else (write_program, run_program)
            write(source.model, tile, about, file)
            tolerance, exported = TOLERANCE, runner(file)
        else:
            yield f"inputs   {', '.join(names)}, of any size"
            exported, tolerance = _write_model(request, source, scratch, file), 0.0
        yield compare(source.model, exported, tile, f"the {request.format} export", tolerance).described()
        if request.format == "folder":
            move_all(scratch, place, CONFIG_FILE)
        else:
            place.with_name(f"{place.name}.data").unlink(missing_ok=True)  # weights of an earlier, larger one
            move_all(scratch, place.parent, place.name)
    yield f"{place} is there, {_size(place)}"
    if request.repository:
        yield f"uploaded to {push(place, request.repository, FILES)}"


def open_checkpoint(path: Path, backbone: str | None = None) -> Source:
    """Load what is to be exported.

    Args:
        path: of the checkpoint.
        backbone: file with the weights of a backbone that it leaves out.

    Raises:
        UserError: when it cannot be read, or does not say how inputs are scaled.
    """
    loaded = load_module(path, backbone)
    state: Any = loaded.checkpoint.get(DATA_STATE)
    if not isinstance(state, dict) or "scaling" not in state:
        raise UserError(f"--ckpt_path {path} does not say how its inputs are scaled; give one that mobanet.fit wrote.")
    learnt = {name: np.array(numbers) for name, numbers in state["scaling"].items()}
    facts = run_facts(path, loaded.checkpoint)
    model, training = deployed(loaded.module, learnt), Training.of(loaded.checkpoint)
    return Source(loaded.module, learnt, state.get("windows"), facts, model, training)


def _write_model(request: ExportRequest, source: Source, scratch: Path, file: Path) -> Runner:
    """Write a folder or a file of weights, and read it again."""
    module, folder = source.module, request.format == "folder"
    whole = request.whole or not folder
    model = saved(module, source.learnt, source.windows, whole, source.training)
    if not folder:
        write_weights(model, file)
        return read_model(file).deployed
    card = model_card(
        module,
        source.learnt,
        source.facts,
        source.windows,
        left_out=LEFT_OUT in model.config,
        licence=request.licence,
        name=request.repository or request.place.name,
    )
    write_files(model, card, scratch)
    return read_folder(scratch, str(request.place)).deployed


def _size(place: Path) -> str:
    files = place.iterdir() if place.is_dir() else [place, place.with_name(f"{place.name}.data")]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"{size / 1e6:.1f} MB"
