"""Map test tiles as the QGIS plugin Deepness does, with a model exported for it, and compare with mobanet.predict.

    python experiments/deepness.py --ckpt_path demo/run --store demo/city/mobanet_store [--tiles 2_13 2_14 3_13]

`plugin_map` does what the plugin does with a layer, from what its documentation and source say: square tiles that
overlap, divided by 255 and standardised by the file's metadata; the class of the greatest output; of each tile the
middle. The table gives mean IoU, and the share of pixels that are as in mobanet.predict's map from the same sensors.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

import mobanet
from mobanet.exporting.command import ExportRequest, run_export
from mobanet.exporting.pretrained import PretrainedModel
from mobanet.rasters.contents import IGNORE_INDEX, Classes
from mobanet.store.arrays import read_array
from mobanet.store.stored import StoredTile, TileStore

_WAYS = (("layer", None), ("window", None), (None, "rgb+ir"), (None, "rgb"))
"""Datum and scenario of each export."""


def plugin_map(session: onnxruntime.InferenceSession, layer: np.ndarray) -> np.ndarray:
    """What the plugin makes of a layer with default settings, which it takes from the file.

    Args:
        session: of the file.
        layer: (C, H, W), of any type.

    Returns:
        (H, W) indices of the model's outputs.
    """
    told = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    mean, std = (np.array(told[f"standardization_{key}"], np.float32) for key in ("mean", "std"))
    side, channels = session.get_inputs()[0].shape[-1], session.get_inputs()[0].shape[-3]
    overlap = int(side * told["tiles_overlap"] / 100 * 2) // 2
    stride, margin = side - overlap, overlap // 2
    extents = [length - side for length in layer.shape[1:]]
    missing = [-more if more <= 0 else -more % stride for more in extents]
    # it grows the layer upwards and to the right, in zeros
    padded = np.pad(layer, ((0, 0), (missing[0], 0), (0, missing[1])))
    counts = [(length - side) // stride + 1 for length in padded.shape[1:]]
    classes = np.zeros(padded.shape[1:], np.int64)
    for row in range(counts[0]):
        for column in range(counts[1]):
            top, left = row * stride, column * stride
            tile = padded[:channels, top : top + side, left : left + side].transpose(1, 2, 0)[None]
            given = (np.float32(tile * 1.0 / 255.0) - mean) / std
            (scores,) = session.run(None, {session.get_inputs()[0].name: given.transpose(0, 3, 1, 2)})
            scores[scores < told["seg_thresh"]] = 0.0
            found = scores.argmax(1)[0]
            # at the layer's edges a tile counts to its own
            first = [0 if number == 0 else margin for number in (row, column)]
            ends = zip((row, column), counts, strict=True)
            last = [side if number == count - 1 else side - margin for number, count in ends]
            rows, columns = slice(first[0], last[0]), slice(first[1], last[1])
            classes[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop] = found[
                rows, columns
            ]
    return classes[missing[0] :, : layer.shape[2]]


def main() -> None:
    """Export, map, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ckpt_path", default="demo/run", help="model with an elevation modality")
    parser.add_argument("--store", type=Path, default=Path("demo/city/mobanet_store"), help="tiles prepared for it")
    parser.add_argument("--tiles", nargs="+", default=["2_13", "2_14", "3_13"])
    options = parser.parse_args()
    whole, model = mobanet.load(options.ckpt_path), mobanet.from_pretrained(options.ckpt_path)
    tiles = [TileStore(options.store).tiles[name] for name in options.tiles]
    truth = [read_array(tile, "label_eroded") for tile in tiles]
    print("| map | mean IoU | pixels as by mobanet.predict |\n| --- | --- | --- |")
    for datum, scenario in _WAYS:
        names = scenario.split("+") if scenario else list(model.deployed.modalities)
        maps = [whole.predict({name: _planes(tile, name) for name in names}, **_place(tile)).classes for tile in tiles]
        with TemporaryDirectory() as folder:
            request = ExportRequest.of(
                options.ckpt_path, f"{folder}/model.onnx", "deepness", scenario=scenario, datum=datum
            )
            list(run_export(request))
            session = onnxruntime.InferenceSession(request.place)
        # output 0 is for what has no value, and the classes begin behind it
        found = [plugin_map(session, _layer(model, tile, names, datum)) - 1 for tile in tiles]
        same = np.mean([np.mean(one == other) for one, other in zip(found, maps, strict=True)])
        title = f"{'+'.join(names)}{f', --datum {datum}' if datum else ''}"
        print(f"| {title}, mobanet.predict | {100 * _mean_iou(maps, truth, whole.classes):.1f} | |")
        score = 100 * _mean_iou(found, truth, whole.classes)
        print(f"| {title}, as the plugin | {score:.1f} | {100 * same:.1f} % |", flush=True)


def _planes(tile: StoredTile, name: str) -> np.ndarray:
    return read_array(tile, name).transpose(2, 0, 1)


def _place(tile: StoredTile) -> dict[str, object]:
    return {"transform": tile.transform, "crs": tile.crs}


def _layer(model: PretrainedModel, tile: StoredTile, names: list[str], datum: str | None) -> np.ndarray:
    """The bands of a layer, float32; heights above the ground where the export wants them so."""
    planes = []
    for name in names:
        values = _planes(tile, name).astype(np.float32)
        if datum == "layer" and model.module.data.scaling[name] == "ground":
            values = model.heights(name, values.transpose(1, 2, 0), transform=tile.transform).transpose(2, 0, 1)
        planes.append(values)
    return np.concatenate(planes)


def _mean_iou(found: list[np.ndarray], truth: list[np.ndarray], classes: Classes) -> float:
    """Over the averaged classes that there are."""
    found, truth = (np.concatenate([one.ravel() for one in several]) for several in (found, truth))
    labelled = truth != IGNORE_INDEX
    ious = []
    for index in [classes.names.index(name) for name in classes.averaged]:
        here, there = (of[labelled] == index for of in (found, truth))
        if there.any():
            ious.append((here & there).sum() / (here | there).sum())
    return float(np.mean(ious))


if __name__ == "__main__":
    main()
