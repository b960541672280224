"""`python -m mobanet.init`: an experiment for one's own rasters and labels, by a look at them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobanet.cli.entry import run
from mobanet.errors import UserError

if TYPE_CHECKING:
    from mobanet.own_data.recipe import Machine


def init(
    labels: str,
    output: str,
    input: list[str] | None = None,
    rgb: str | None = None,
    irrg: str | None = None,
    ir: str | None = None,
    ndsm: str | None = None,
    dsm: str | None = None,
    attribute: str | None = None,
    layer: str | None = None,
    areas: str | None = None,
    areas_attribute: str | None = None,
    crs: str | None = None,
    seed: int = 0,
    accelerator: str = "auto",
    overwrite: bool = False,
) -> None:
    """Look at rasters and labels and write an experiment: --rgb ortho.tif --labels cover.gpkg --output town.yaml.

    Args:
        labels: polygons (GeoPackage, shapefile, GeoJSON, FlatGeobuf), or label rasters: a file, a folder or a pattern.
        output: YAML file to write.
        input: a raster, a folder or a pattern for each modality, such as ndvi=ndvi.tif or ir=rgbir/{tile}.tif[4] with
            bands, from 1, in brackets; {tile} stands for what tells tiles apart.
        rgb: the same as rgb=PATH under input; red, green and blue.
        irrg: the same as irrg=PATH under input; infrared, red and green.
        ir: the same as ir=PATH under input; infrared.
        ndsm: the same as ndsm=PATH under input; heights above the ground.
        dsm: the same as dsm=PATH under input; a surface model.
        attribute: of polygons, that tells the classes; null to find out.
        layer: of a vector file with several.
        areas: polygons that say which ground of a mosaic is for training, validation and test; null to draw tiles.
        areas_attribute: that says it; null to find out.
        crs: coordinate reference system of files that name none, such as EPSG:25833.
        seed: of the split into training, validation and test.
        accelerator: cpu, gpu or auto: what the experiment is to run on.
        overwrite: replace a file that is there.
    """
    from mobanet.files import write_text
    from mobanet.own_data.given import given_labels, given_modalities
    from mobanet.own_data.plan import Wishes, make_plan
    from mobanet.own_data.summary import summary
    from mobanet.own_data.written import experiment_text
    from mobanet.runs.messages import quieten

    quieten()
    # before the rasters are looked at, which takes a while
    path = _writable(output, overwrite)
    short = {"rgb": rgb, "irrg": irrg, "ir": ir, "ndsm": ndsm, "dsm": dsm}
    modalities = given_modalities(short, input or ())
    wishes = Wishes(path, attribute, layer, areas, areas_attribute, crs, seed, _machine(accelerator))
    plan = make_plan(modalities, given_labels(labels), wishes)
    text = experiment_text(plan)
    # before it is written: what `fit` would refuse never gets its name
    _check(text)
    write_text(path, text)
    print(summary(plan))


def _writable(output: str, overwrite: bool) -> Path:
    path = Path(output)
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output is {output}; give a file that ends with .yaml.")
    if path.exists() and not (overwrite and path.is_file()):
        remedy = "give another name, or --overwrite true" if path.is_file() else "give another name"
        raise UserError(f"--output {output} is there already; {remedy}.")
    return path


def _machine(accelerator: str) -> "Machine":
    """What the experiment is to run on."""
    import torch

    from mobanet.own_data.recipe import Machine

    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise UserError(f"--accelerator is {accelerator}; choose one of auto, cpu, gpu.")
    if accelerator == "cpu":
        return Machine(None)
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return Machine(facts.total_memory / 1e9, facts.name)
    # a GPU that is asked for and not here is another machine's: its memory sets no bound
    return Machine(None if accelerator == "auto" else float("inf"))


def _check(text: str) -> None:
    """Read an experiment as `fit` will, down to the tiles that it finds.

    Raises:
        UserError: where it would not run.
    """
    import tempfile

    from mobanet.cli.command_line import parsed_data
    from mobanet.datasets.catalogue import list_files

    with tempfile.TemporaryDirectory(prefix="mobanet-") as folder:
        path = Path(folder) / "experiment.yaml"
        # through a file, as `fit` will read it: only so YAML has its say about each value
        path.write_text(text, encoding="utf-8")
        data = parsed_data(["--config", str(path)])
        survey = data.layout.survey(list_files(data.root, Path(folder)), data.modalities, Path(folder))
    split = data.layout.resolve_split(data.split_name, [tile.id for tile in survey.tiles])
    for part in ("train", "validation"):
        if not getattr(split, part):
            raise UserError(f"no tile is left for {part}; give more ground, or other --areas.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(init, "python -m mobanet.init", arguments)


if __name__ == "__main__":
    main()
