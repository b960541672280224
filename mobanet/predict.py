"""`python -m mobanet.predict`: maps of rasters of any size, with whatever sensors are there."""

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from mobanet.cli.entry import run
from mobanet.errors import Stopped, UserError
from mobanet.plain.command_words import given_options, take_flag

_COMMAND = ("python", "-m", "mobanet.predict")


def predict(
    ckpt_path: str,
    input: list[str] | None = None,
    output: str | None = None,
    preset: Literal["smooth", "test", "authors"] = "smooth",
    window: int | None = None,
    stride: int | None = None,
    turns: bool = False,
    coverage: Literal["pixel", "window"] | None = None,
    gaps: Literal["nodata", "predict"] = "nodata",
    probabilities: Literal["none", "uint8", "float32"] = "none",
    confidence: Literal["none", "uint8", "float32"] = "none",
    calibrated: bool = True,
    scenarios: bool = False,
    polygons: bool | str = False,
    minimum_area: float | None = None,
    fill_holes: float | None = None,
    simplify: float | None = None,
    right_angles: list[str] | None = None,
    zones: str | None = None,
    zones_attribute: str | None = None,
    reference: str | None = None,
    crs: str | None = None,
    resolution: str | None = None,
    nodata: list[str] | None = None,
    factor: list[str] | None = None,
    minimum: list[str] | None = None,
    batch_size: int = 8,
    accelerator: str = "auto",
    devices: int = 1,
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"] = "32-true",
    float32_matmul_precision: Literal["highest", "high", "medium"] | None = None,
    backbone: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    scenes: str | None = None,
    part: str | None = None,
) -> list[Any]:
    """Write a class map of rasters of any size: --input rgb=ortho.tif dsm=surface.tif --output map.tif.

    Args:
        ckpt_path: checkpoint of the model, which needs nothing else of its run; or the folder of a run, a folder or a
            .safetensors file that mobanet.export wrote, or OWNER/NAME of one on the hub.
        input: a raster, folder or pattern for each modality that is there, such as rgb=ortho.tif or dsm=tiles/*.tif;
            bands, counted from 1, may follow in brackets: ir=rgbir.tif[4]. Modalities left out are predicted without. A
            raster may lie elsewhere: https://host/ortho.tif, s3://bucket/ortho.tif, archive.zip!ortho.tif.
        output: GeoTIFF to write; a folder for several scenes.
        preset: smooth (half-overlapping windows, blended), test (the windows of the run's test, logits summed) or
            authors (stride 32, logits summed).
        window: height and width of a window in pixels; null for the run's own.
        stride: from window to window in pixels; null for the preset's.
        turns: take the mean over the eight turns and flips of a window (test-time augmentation), eight times the work.
        coverage: where a modality is there in part, decide pixel by pixel or window by window; null for the preset's.
        gaps: pixels that the reference raster lacks become nodata, or are predicted from the others.
        probabilities: write those of the classes, too, in 8 bit or as floats, to OUTPUT_probabilities.tif.
        confidence: write the probability of the map's class, in 8 bit or as floats, to OUTPUT_confidence.tif.
        calibrated: calibrate probabilities by the temperatures that the checkpoint has of the scenarios that were
            validated in training; classes stay the same.
        scenarios: write which scenario each pixel was predicted in, to OUTPUT_scenarios.tif.
        polygons: write polygons of the classes as GeoPackage, too: a file that ends with .gpkg, or, without a name, to
            OUTPUT_polygons.gpkg.
        minimum_area: square metres; smaller polygons are merged into the neighbour with the longest shared border. The
            map itself keeps them.
        fill_holes: square metres; smaller holes of polygons are filled. The map itself keeps them.
        simplify: metres by which outlines of polygons may leave the pixels; neighbours keep their shared borders. Takes
            all outlines at once, in memory that grows with them.
        right_angles: classes whose polygons get right-angled outlines, as buildings are surveyed, where these come near
            enough; edges below the metres of --simplify go, or else below three pixels. They may overlap their
            neighbours, or leave slivers. Not in degrees.
        zones: file of polygons in any reference system (GeoPackage, shapefile, GeoJSON, FlatGeobuf): what the map has
            in each of them is written to OUTPUT_zones.csv, and with the polygons to OUTPUT_zones.gpkg.
        zones_attribute: that names the zones in the table; null for their numbers, from 1 on.
        reference: modality whose grid the map gets; null for the first one given, in the model's order.
        crs: coordinate reference system of rasters that name none, such as EPSG:25833.
        resolution: side of the map's pixels on the ground in metres, or training for that of the rasters that the model
            was trained on, to which all rasters are resampled; null for that of the reference.
        nodata: values that mean missing, beside what the rasters declare, such as dsm=-9999; those not given are the
            training's.
        factor: by modality, what raster values are multiplied by, such as ndsm=0.1 for decimetres, instead of what the
            rasters say by scale, offset and unit, or else of the training's factor.
        minimum: by modality, below which raster values are missing, such as dsm=-50; where none is given, heights below
            -1000 m are.
        batch_size: windows that go through the network together, on each device.
        accelerator: cpu, gpu or auto.
        devices: number of processes, a device each.
        precision: of the network's arithmetic; auto is bf16-mixed where the hardware computes in it, else 16-mixed on
            CUDA GPUs and 32-true elsewhere.
        float32_matmul_precision: how float32 matrices are multiplied; high is TF32 on GPUs that have it, null torch's
            own way.
        backbone: file with the weights of a frozen backbone that the checkpoint leaves out, where they have moved.
        resume: go on with an interrupted prediction.
        overwrite: replace a map that is there, and forget an interrupted prediction.
        scenes: in place of --input, a CSV file with the columns id and modalities, a scene a row; its maps go to the
            folder --output. Any number of processes may share it, and the same command takes up what is missing.
        part: of the scenes, such as 3/16 for every sixteenth from the third on; null for all that nobody is at.

    Returns:
        A `mobanet.prediction.areas.FinishedMap` for each map, in the first process.
    """
    # within, so that help and a mistyped option are answered without torch
    from mobanet.models.precision import matmul_precision, resolved
    from mobanet.prediction.plan import MapSettings, output_paths
    from mobanet.prediction.request import find_scenes
    from mobanet.prediction.run import announce, clear_way, launched, make_maps
    from mobanet.prediction.sources import open_model
    from mobanet.prediction.vectors import VectorSettings
    from mobanet.prediction.zones import read_zones
    from mobanet.runs.messages import quieten

    quieten()

    rasters, target = _given(input, output, scenes, part)
    if scenes is not None:
        _check_alone(polygons, resume, overwrite, devices)
    # before the model, which takes longer to read
    wanted = read_zones(zones, zones_attribute)
    vectors = VectorSettings(polygons, minimum_area, fill_holes, simplify, wanted, right_angles)
    model = open_model(ckpt_path, backbone)
    vectors.check_classes(model.data.classes.names)
    chosen = {
        "window": window,
        "stride": stride,
        "coverage": coverage,
        "turns": turns,
        "gaps": gaps,
        "probabilities": probabilities,
        "confidence": confidence,
        "calibrated": calibrated and bool(model.temperatures),  # else there is nothing to tell apart
        "scenarios": scenarios,
        "precision": resolved(precision, accelerator, devices),
        "float32_matmul_precision": float32_matmul_precision,
    }
    settings = MapSettings.of(preset, model.windows, chosen, model.step)
    said = nodata or (), factor or (), minimum or ()
    if scenes is not None:
        from mobanet.prediction.many import Placing, predict_list
        from mobanet.prediction.plan import output_folder
        from mobanet.prediction.scene_list import part_of, read_scenes

        listed = read_scenes(scenes, list(model.modalities), *said)
        listed, folder = listed if part is None else part_of(listed, part), output_folder(target)
        placing = Placing(reference, crs, resolution)
        fabric = launched(accelerator, devices, settings.precision)
        with matmul_precision(float32_matmul_precision):
            outcome = predict_list(model, listed, folder, settings, placing, fabric, batch_size, vectors)
        print(outcome.described())
        outcome.check()
        return outcome.finished
    # behind the model, whose modalities the names before `=` have to be
    given = find_scenes(rasters, list(model.modalities), *said)
    paths = output_paths(target, [scene.id for scene in given])
    placed = [model.place(scene, reference, crs, resolution) for scene in given]
    # before anything is predicted: polygons come last, and hours later
    vectors.check(placed)
    placed, paths = clear_way(placed, paths, settings, resume, overwrite, vectors)
    announce(model, placed, settings)
    fabric = launched(accelerator, devices, settings.precision)
    with matmul_precision(float32_matmul_precision):
        maps = make_maps(model, placed, paths, settings, fabric, batch_size, vectors)
    for finished in maps:
        print(finished.described())
    return maps


def _given(given: list[str] | None, output: str | None, scenes: str | None, part: str | None) -> tuple[list[str], str]:
    """The rasters, none for a list of scenes, and where to write; what is missing or does not go together is refused.

    Raises:
        UserError: naming the option.
    """
    if given is None and scenes is None:
        raise UserError("--input is missing; give it, such as rgb=ortho.tif, or a list of scenes with --scenes.")
    if given is not None and scenes is not None:
        raise UserError("--input names the rasters of one scene, and --scenes those of many: give one of them.")
    if output is None:
        raise UserError(f"--output is missing; give the {'GeoTIFF' if scenes is None else 'folder'} to write.")
    if part is not None and scenes is None:
        raise UserError(f"--part {part} is a share of a list: give --scenes, too, or leave it out.")
    return given or [], output


def _check_alone(polygons: bool | str, resume: bool, overwrite: bool, devices: int) -> None:
    """Refuse options that a list has no use for.

    Raises:
        UserError: naming the option.
    """
    if isinstance(polygons, str):
        raise UserError(
            f"--polygons {polygons} names one file for many scenes; give --polygons without a name, which writes them "
            "beside each map."
        )
    if resume:
        raise UserError("--resume: with --scenes, what is missing is taken up in any case; leave it out.")
    if overwrite:
        raise UserError("--overwrite: with --scenes, maps that are there stay; delete them, or name another --output.")
    if devices != 1:
        raise UserError(f"--devices {devices}: with --scenes, start a process a device, which share the list.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    run(predict, "python -m mobanet.predict", words, partial(_way_on, words))


def _way_on(words: Sequence[str], interrupt: KeyboardInterrupt) -> str:
    """What to say on Ctrl-C."""
    given = given_options(words)
    _, rest = take_flag(words, "--overwrite")
    _, rest = take_flag(rest, "--resume")
    if "--scenes" in given:
        pass  # takes up what is missing in any case
    elif not isinstance(interrupt, Stopped) and "--overwrite" in given:
        rest.append("--overwrite")  # of several maps, some may still be those that are to be replaced
    else:
        rest.append("--resume")
    return f"{str(interrupt) or 'interrupted'}; go on with: {shlex.join([*_COMMAND, *rest])}"


if __name__ == "__main__":
    main()
