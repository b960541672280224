"""From a run folder to its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from mobanet.data.datamodule import RasterDataModule
from mobanet.errors import UserError
from mobanet.evaluation.read_back import Evaluated, read_evaluation
from mobanet.evaluation.test_maps import map_names
from mobanet.files import write_text
from mobanet.reporting.accuracy_section import accuracy_section
from mobanet.reporting.calibration_section import calibration_section
from mobanet.reporting.confusion_section import confusion_section
from mobanet.reporting.curves import curves_section, sampling_section
from mobanet.reporting.degraded_section import degraded_section, read_degraded
from mobanet.reporting.detail_section import detail_section
from mobanet.reporting.facts_section import model_section, protocol_section, settings_section
from mobanet.reporting.folder import RunFolder, read_folder
from mobanet.reporting.markup import note
from mobanet.reporting.model import model_facts
from mobanet.reporting.page import Section, page
from mobanet.reporting.pictures import TilePictures, tile_pictures
from mobanet.reporting.scenario_section import scenario_section
from mobanet.reporting.summary_section import summary_section
from mobanet.reporting.tiles_section import class_legend, tiles_section
from mobanet.runs.data import open_data
from mobanet.runs.folder import CONFIG_FILE
from mobanet.store.stored import StoredTile

MOST_BYTES = 16_000_000
"""Of pictures in a page: what mail and submission systems usually still take."""


def report_text(folder: str | Path, tiles: int, side: int) -> str:
    """The report of a run as an HTML document, with at most so many test tiles, of at most `side` rows and columns.

    Raises:
        UserError: when the folder is no run, or a file in it is damaged.
    """
    run = read_folder(folder)
    tested = read_evaluation(run.path, "test", run.data)
    # of a run that was not tested, the validation stands in, and headings say so
    shown = tested or read_evaluation(run.path, "validation", run.data)
    model = model_facts(run.hyper_parameters)
    checkpoint = str(run.path / "checkpoints" / run.checkpoint)
    sections = []
    if shown is not None:
        which = "" if shown.stage == "test" else " (validation)"
        several = len(shown.results.scores) > 1
        matrices = "Confusion matrices" if several else "Confusion matrix"
        sections.append(Section("scenarios", f"Scenarios{which}", scenario_section(shown)))
        sections.append(Section("confusion", f"{matrices}{which}", confusion_section(shown)))
        sections.append(Section("accuracy", f"Accuracy of each class{which}", accuracy_section(shown)))
        if shown.results.details:
            sections.append(Section("details", f"Boundaries and objects{which}", detail_section(shown)))
        if shown.results.reliability:  # of a test that earlier versions made nothing is known
            drawn = calibration_section(shown.results.reliability, shown.results.calibrated)
            sections.append(Section("calibration", f"Calibration{which}", drawn))
    if (degraded := read_degraded(run.path, run.data)) is not None:
        sections.append(Section("degraded", "Degraded sensors", degraded_section(degraded)))
    sections.append(Section("tiles", "Test tiles", _tiles(run, tested, tiles, side, checkpoint)))
    sections.append(Section("curves", "Training curves", curves_section(run.path)))
    sections.append(Section("sampling", "Scenario sampling", sampling_section(run.path)))
    sections.append(Section("model", "Model", model_section(run, model)))
    if shown is not None:
        sections.append(Section("protocol", f"Protocol{which}", protocol_section(shown.results.protocol)))
    sections.append(Section("configuration", "Configuration", settings_section(run)))
    return page(run.name, summary_section(shown, model, checkpoint), sections, class_legend(run.data.classes))


def write_report(folder: str | Path, output: str | Path, tiles: int, side: int) -> Path:
    """Write the report of a run, at once or not at all.

    Raises:
        UserError: as `report_text`, and when the file cannot be written.
    """
    output = Path(output)
    text = report_text(folder, tiles, side)
    try:
        write_text(output, text)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"--output {output} cannot be written ({reason}); give another file.") from error
    return output


def _tiles(run: RunFolder, tested: Evaluated | None, most: int, side: int, checkpoint: str) -> Markup:
    """Pictures of the test tiles that have a class map, or what is lacking."""
    again = f"`python -m mobanet.test --ckpt_path {checkpoint}`"
    if tested is None:
        return note(f"There are no pictures, as the test tiles have not been predicted; {again} does it.")
    try:
        data = open_data(run.config, run.path / CONFIG_FILE, run.data, run.scaling)
    except UserError as error:
        return note(f"There are no pictures, as the test tiles are not at hand: {error}")
    there = data.tiles("test")
    # of all test tiles, as the test named its maps: a name depends on those before it
    names = map_names(tile.id for tile in there)
    maps = {tile.id: run.path / "test" / "maps" / names[tile.id] for tile in there}
    mapped = [tile for tile in there if maps[tile.id].is_file()]
    if not mapped:
        return note(f"There are no pictures, as `test/maps` holds no class map of a test tile; {again} writes them.")
    drawn = _within(run, data, mapped[:most], maps, side)
    remarks = []
    if len(drawn) < len(there):
        remarks.append(_left_out(len(drawn), len(there), len(mapped), most))
    return tiles_section(drawn, run.data.classes, remarks)


def _within(
    run: RunFolder, data: RasterDataModule, tiles: Sequence[StoredTile], maps: Mapping[str, Path], side: int
) -> list[TilePictures]:
    """Pictures of the tiles, as many as the page may hold, at least one tile's."""
    drawn: list[TilePictures] = []
    for tile in tiles:
        pictures = tile_pictures(data, tile, maps[tile.id], run.data.classes, side)
        # by what was drawn: how far a photograph can be compressed is not known before
        if drawn and sum(each.size for each in drawn) + pictures.size > MOST_BYTES:
            break
        drawn.append(pictures)
    return drawn


def _left_out(drawn: int, there: int, mapped: int, most: int) -> str:
    """Why not every tile is shown."""
    if drawn < min(mapped, most):
        why = f"the page would grow beyond {MOST_BYTES // 1_000_000} MB; lower --side to see more"
    elif mapped > most:
        why = f"--tiles is {most}"
    else:
        why = "the others have no class map in test/maps"
    return f"{drawn} of {there} test tiles are shown: {why}."
