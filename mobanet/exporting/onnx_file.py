"""ONNX: one file for ONNX Runtime and whatever else reads it."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobanet.errors import UserError
from mobanet.exporting.deployed import OUTPUT, DeployedModel
from mobanet.exporting.describe import KEY
from mobanet.exporting.graph import BATCH, capture, quiet, refused, written_out_attention
from mobanet.exporting.parity import Runner

_PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "ONNX Runtime"}


def check_packages() -> None:
    """Look for what writes ONNX files and runs them.

    Raises:
        UserError: when a package is not there.
    """
    for package, title in _PACKAGES.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"--format onnx needs {title}, which is not installed; install it with pip install 'mobanet[export]'."
            ) from error


def write_onnx(
    model: DeployedModel, tile: int, description: Mapping[str, Any], path: Path, external: bool | None = None
) -> None:
    """Convert and write a model.

    Args:
        model: in eval mode, on the CPU.
        tile: height and width in pixels.
        description: for the file's metadata.
        path: to write.
        external: put the weights into PATH.data beside it; None: where they are more than one file can hold.

    Raises:
        UserError: when the network cannot be converted.
    """
    with written_out_attention(model.network):
        program = capture(model, tile)
    with quiet(), refused("converted to ONNX"):
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(model.inputs),
            output_names=[OUTPUT],
            dynamic_shapes={"feeds": {name: {0: BATCH} for name in model.inputs}},
            verbose=False,
        )
        for node in onnx.model.graph.all_nodes():
            node.metadata_props.clear()  # the exporter's own notes, paths on this machine among them
        onnx.model.metadata_props[KEY] = json.dumps(description)
        onnx.save(str(path), external_data=external)


def run_onnx(path: Path) -> Runner:
    """What runs an ONNX file, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with refused("run by ONNX Runtime"):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(feeds: dict[str, Tensor]) -> Tensor:
        with refused("run by ONNX Runtime"):
            return torch.from_numpy(session.run([OUTPUT], {name: x.numpy() for name, x in feeds.items()})[0])

    return run
