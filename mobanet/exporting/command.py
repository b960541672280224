"""What `mobanet.export` does once its command line is read: write beside, compare, and only then give the name."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mobanet.checkpoints.checkpoint import checkpoint_in
from mobanet.checkpoints.frozen import LEFT_OUT
from mobanet.errors import UserError
from mobanet.exporting import deepness
from mobanet.exporting.card import model_card
from mobanet.exporting.deployed import DeployedModel
from mobanet.exporting.describe import description, signature
from mobanet.exporting.files import check_place, move_all, scratch_beside
from mobanet.exporting.hub import OPTION, check_push, push
from mobanet.exporting.layered import Layers, layer_beside
from mobanet.exporting.onnx_file import check_packages, run_onnx, write_onnx
from mobanet.exporting.parity import TOLERANCE, Runner, compare
from mobanet.exporting.places import Exported, exported_in, pretrained_of
from mobanet.exporting.pretrained import CONFIG_FILE, FILES, PretrainedModel, read_folder, read_model, write_files
from mobanet.exporting.run_facts import RunFacts, run_facts
from mobanet.exporting.stac import ItemFacts
from mobanet.exporting.stacked import Datum, StackedModel, needs_datum
from mobanet.exporting.tiles import chosen_tile
from mobanet.exporting.torch_file import run_program, write_program
from mobanet.exporting.weights import saved, write_weights
from mobanet.loading.module import load_module

Format = Literal["onnx", "torch", "deepness", "safetensors", "folder"]
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "deepness": "_deepness.onnx", "safetensors": ".safetensors", "folder": ""}
GRAPHS = ("onnx", "torch")


@dataclass(frozen=True)
class ExportRequest:
    """What the user asks for; attributes as options of `mobanet.export`, but for these.

    Attributes:
        checkpoint: to export, or the folder or file of an exported model.
        whole: whether a folder has all weights.
        repository: on the hub; None to upload nothing.
        layer: what makes the plugin's layer; None to make none.
        exported: the exported model that is to be exported in another format; None for a checkpoint.
    """

    checkpoint: Path
    output: Path | None
    format: Format
    tile: int | None = None
    whole: bool = False
    backbone: str | None = None
    licence: str | None = None
    repository: str | None = None
    scenario: str | None = None
    datum: Datum | None = None
    layer: Layers | None = None
    exported: Exported | None = None

    @classmethod
    def of(cls, source: str, output: str | None, *rest: Any, **named: Any) -> "ExportRequest":
        """A request for whatever a name stands for, with further attributes as given."""
        exported = exported_in(source, "--ckpt_path")
        path = checkpoint_in(source) if exported is None else exported.place
        return replace(cls(path, Path(output) if output else None, *rest, **named), exported=exported)

    @property
    def place(self) -> Path:
        """Where the export goes."""
        if self.output is not None:
            return self.output
        suffix, beside = SUFFIXES[self.format], self.checkpoint
        if self.exported is not None and self.exported.path.is_dir():  # whose name may have a point in it
            return beside.with_name(f"{beside.name}{suffix}")
        return beside.with_name(f"{beside.stem}{suffix}")

    def check(self) -> None:
        """Refuse what cannot succeed, before any work is done."""
        folder = self.format == "folder"
        own = () if self.exported is None else (self.exported.path.resolve(), self.exported.weights.resolve())
        if self.place.resolve() in own:
            raise UserError(f"{self.place} is the model that is to be exported; name another place with --output.")
        for option, given in ((OPTION, self.repository), ("--license", self.licence)):
            if given and not folder:
                raise UserError(f"{option} is for --format folder, not for {self.format}; leave it out.")
        if self.whole and not folder:
            raise UserError(f"--weights full is for --format folder; {self.format} always has all weights.")
        if self.tile is not None and self.format not in (*GRAPHS, "deepness"):
            raise UserError(
                f"--tile is for --format onnx, torch and deepness; a model in the format {self.format} takes any size."
            )
        for option, wanted in (("--scenario", self.scenario), ("--datum", self.datum), ("--input", self.layer)):
            if wanted and self.format != "deepness":
                raise UserError(f"{option} is for --format deepness, not for {self.format}; leave it out.")
        if self.repository:
            check_push(self.repository)
        if self.format in ("onnx", "deepness"):
            check_packages(self.format)


@dataclass(frozen=True)
class OpenedModel:
    """A model opened.

    Attributes:
        pretrained: in eval mode, on the CPU.
        facts: of its run; None of an export, which has none.
    """

    pretrained: PretrainedModel
    facts: RunFacts | None

    @property
    def trained_tile(self) -> int | None:
        """Height and width of the windows of its evaluation, or of its training crops; None where neither is known."""
        if self.pretrained.windows:
            return self.pretrained.windows["size"]
        return None if self.facts is None else self.facts.trained_tile


def run_export(request: ExportRequest) -> Iterator[str]:
    """Export a model; what it says comes line by line.

    Raises:
        UserError: when the model cannot be read or exported, the export computes something else, or the hub
            refuses it.
        OSError: when it cannot be written.
    """
    request.check()
    source, place = open_source(request), request.place
    check_place(place, request.format == "folder")
    module, model = source.pretrained.module, source.pretrained.deployed
    names = [modality.name for modality in module.data.modalities]
    yield f"network  {module.settings.architecture}, {module.settings.described()}"
    tile = chosen_tile(model.network, request.tile, source.trained_tile)
    with scratch_beside(place) as scratch:
        # by its final name already: an ONNX file names the file of its external weights within itself
        file = scratch / place.name
        if request.format == "deepness":
            yield from _write_deepness(request, source.pretrained, tile, file)
        elif request.format in GRAPHS:
            yield from signature(model, tile)
            about = description(module, source.pretrained.learnt, tile)
            write, runner = (write_onnx, run_onnx) if request.format == "onnx" else (write_program, run_program)
            write(model, tile, about, file)
            yield _compared(request, model, runner(file), tile, TOLERANCE)
        else:
            yield f"inputs   {', '.join(names)}, of any size"
            if request.format == "folder" and source.facts is None:
                yield "card     figures and settings of its run are not known of an export"
            # 0.0: it is the same code on the same numbers
            yield _compared(request, model, _write_model(request, source, scratch, file), tile, 0.0)
        if request.format == "folder":
            # the configuration last: a folder without one is no model to any reader
            move_all(scratch, place, CONFIG_FILE)
        else:
            place.with_name(f"{place.name}.data").unlink(missing_ok=True)  # weights of an earlier, larger one
            move_all(scratch, place.parent, place.name)
    yield f"{place} is there, {_size(place)}"
    if request.repository:
        yield f"uploaded to {push(place, request.repository, FILES)}"


def open_source(request: ExportRequest) -> OpenedModel:
    """Load what is to be exported."""
    if request.exported is not None:
        return OpenedModel(request.exported.read(request.backbone), None)
    path = request.checkpoint
    loaded = load_module(path, request.backbone)
    model = pretrained_of(loaded, f"--ckpt_path {path}")
    return OpenedModel(model, run_facts(path, loaded.checkpoint, loaded.module.data))


def _compared(request: ExportRequest, model: DeployedModel, exported: Runner, tile: int, tolerance: float) -> str:
    return compare(model, exported, tile, f"the {request.format} export", tolerance).described()


def _write_deepness(request: ExportRequest, model: PretrainedModel, tile: int, file: Path) -> Iterator[str]:
    """Write what the plugin reads, and compare it."""
    scenario = deepness.chosen_scenario(model, request.scenario)
    if request.datum and not needs_datum(model, scenario):
        raise UserError(f"--datum is for what is scaled by a whole scene, and {scenario.name} has none; leave it out.")
    stacked = StackedModel(model, scenario, request.datum).eval()
    layer = layer_beside(request.place)
    # before the export, which takes minutes: rasters that do not go together are refused at once
    placed = request.layer.placed(model, stacked, layer) if request.layer else None
    yield from deepness.signature(stacked, tile)
    yield from deepness.remarks(model, stacked, layer=placed is not None)
    deepness.write_deepness(model, stacked, tile, file)
    yield deepness.compare_deepness(stacked, file, tile)
    if placed is not None:
        yield from (f"note     {note}" for note in placed.notes)
        placed.write(file.with_name(layer.name))
        yield f"layer    {placed.described}: {layer}"


def _write_model(request: ExportRequest, source: OpenedModel, scratch: Path, file: Path) -> Runner:
    """Write a folder or a file of weights, and read it again."""
    of, folder = source.pretrained, request.format == "folder"
    whole = request.whole or not folder
    model = saved(of.module, of.learnt, of.windows, whole, of.training)
    if not folder:
        write_weights(model, file)
        return read_model(file).deployed
    named = request.licence, request.repository or request.place.name
    card = model_card(of.module, of.learnt, source.facts, of.windows, LEFT_OUT in model.config, *named)
    about = ItemFacts(of.module, of.learnt, of.windows, of.training, source.facts, *named)
    write_files(model, card, about, scratch)
    # read from where it lies now; messages name where it will be
    return read_folder(scratch, str(request.place)).deployed


def _size(place: Path) -> str:
    files = place.iterdir() if place.is_dir() else [place, place.with_name(f"{place.name}.data")]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"{size / 1e6:.1f} MB"
