"""`python -m mobanet.export`: a trained model for others: ONNX, a torch program, weights, or a folder with a card."""

from collections.abc import Sequence
from typing import Literal

from mobanet.cli.entry import run

Format = Literal["onnx", "torch", "deepness", "safetensors", "folder"]


def export(
    ckpt_path: str,
    output: str | None = None,
    format: Format = "onnx",
    tile: int | None = None,
    weights: Literal["light", "full"] = "light",
    backbone: str | None = None,
    license: str | None = None,
    push_to_hub: str | None = None,
    scenario: str | None = None,
    datum: Literal["layer", "window"] | None = None,
    input: list[str] | None = None,
    reference: str | None = None,
    crs: str | None = None,
    resolution: str | None = None,
    nodata: list[str] | None = None,
    factor: list[str] | None = None,
    minimum: list[str] | None = None,
) -> None:
    """Export a model and compare what was written with it, in every scenario, before it gets its name.

    Args:
        ckpt_path: checkpoint of the model, or the folder of a run; of its run folder, if it lies in one, the model card
            takes the figures. Or what is exported already, for another format: a folder, a .safetensors file, or
            OWNER/NAME on the hub.
        output: file or folder to write; null for the model's name with another suffix, beside it.
        format: onnx (any number of tiles of a fixed size, stored values in, logits out), torch (the same as a .pt2
            program), deepness (ONNX for the plugin Deepness of QGIS, the bands of one layer in, probabilities out),
            safetensors (weights and configuration in one file) or folder (weights, configuration, card).
        tile: height and width of what onnx, torch and deepness take, in pixels; null for the run's windows, as patches
            allow.
        weights: of a folder; light leaves out those of a frozen backbone that are published, full writes all.
        backbone: file with the weights of a frozen backbone that the checkpoint leaves out, where they have moved.
        license: of the trained model, as the hub abbreviates it (apache-2.0, cc-by-4.0, …), for a folder's card.
        push_to_hub: upload the folder to this repository of the Hugging Face hub, OWNER/NAME, with your token; a new
            one is private.
        scenario: of deepness, the modalities of which the layer has the bands, such as rgb+ir; null for all.
        datum: of deepness, where a modality is scaled by what is measured on a whole scene (the ground under heights, a
            median, a range): layer, the layer's band holds what is left when that is done, or window, it is measured on
            each window.
        input: of deepness, a raster for each modality, such as rgb=ortho.tif ir=rgbir.tif[4] dsm=surface.tif, to make
            the layer of: OUTPUT_layer.tif, all bands on one grid, and what --datum layer asks for done.
        reference: modality whose grid the layer gets; null for the first one given, in the model's order.
        crs: coordinate reference system of rasters that name none, such as EPSG:25833.
        resolution: side of the layer's pixels on the ground in metres, or training; null for that of the reference.
        nodata: values that mean missing, such as dsm=-9999, as in mobanet.predict.
        factor: what raster values are multiplied by, such as ndsm=0.1, as in mobanet.predict.
        minimum: below which raster values are missing, such as dsm=-50, as in mobanet.predict.
    """
    # within, so that help and a mistyped option are answered without torch
    from mobanet.exporting.command import ExportRequest, run_export
    from mobanet.prediction.layer import LayerRequest
    from mobanet.runs.messages import quieten

    quieten()
    request = ExportRequest.of(
        ckpt_path,
        output,
        format,
        tile,
        weights == "full",
        backbone,
        license,
        push_to_hub,
        scenario,
        datum,
        LayerRequest.of(
            {
                "input": input,
                "reference": reference,
                "crs": crs,
                "resolution": resolution,
                "nodata": nodata,
                "factor": factor,
                "minimum": minimum,
            }
        ),
    )
    for line in run_export(request):
        print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(export, "python -m mobanet.export", arguments)


if __name__ == "__main__":
    main()
