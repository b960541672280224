"""ONNX: one file for ONNX Runtime and whatever else reads it."""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.onnx import ONNXProgram

from mobanet.errors import UserError
from mobanet.exporting.deployed import OUTPUT, DeployedModel
from mobanet.exporting.describe import KEY
from mobanet.exporting.graph import BATCH, capture, quiet, refused, written_out_attention
from mobanet.exporting.parity import Runner

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "ONNX Runtime"}


def check_packages(kind: str) -> None:
    """Look for what writes ONNX files and runs them, for the format that the user asks for."""
    for package, title in _PACKAGES.items():
        try:
            # imported, not looked up: one that lacks a part of its own is of no use either
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"--format {kind} needs {title}, which is not installed; install it with pip install 'mobanet[export]'."
            ) from error


def write_onnx(
    model: DeployedModel, tile: int, description: Mapping[str, Any], path: Path, external: bool | None = None
) -> None:
    """Convert and write a model, which is in eval mode and on the CPU.

    External weights go into PATH.data beside it; None: where they are more than one file can hold.
    """
    with written_out_attention(model.network):
        program = capture(model, tile)
    shapes = {"feeds": {name: {0: BATCH} for name in model.inputs}}
    onnx = converted(program, list(model.inputs), OUTPUT, shapes)
    onnx.model.metadata_props[KEY] = json.dumps(description)
    with quiet(), refused("converted to ONNX"):
        onnx.save(str(path), external_data=external)


def converted(
    program: ExportedProgram, inputs: Sequence[str], output: str, shapes: Any, opset: int | None = None
) -> ONNXProgram:
    """A traced program as ONNX, without notes of this machine.

    Names of dimensions that vary are nested as the program's arguments are; without an `opset` it is the exporter's
    own.
    """
    with quiet(), refused("converted to ONNX"):
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=shapes,
            opset_version=opset,
            verbose=False,
        )
    assert onnx is not None  # as it is where the exporter writes a file by itself
    # those of subgraphs, too
    for node in onnx.model.graph.all_nodes():
        node.metadata_props.clear()  # the exporter's own notes, paths on this machine among them
    return onnx


def run_onnx(path: Path) -> Runner:
    """What runs an ONNX file, on the CPU."""
    session = opened(path)

    def run(feeds: dict[str, Tensor]) -> Tensor:
        with refused("run by ONNX Runtime"):
            return torch.from_numpy(session.run([OUTPUT], {name: x.numpy() for name, x in feeds.items()})[0])

    return run


def opened(path: Path) -> "InferenceSession":
    """An ONNX file, ready to run on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # its own default is all cores
    # errors alone; its own default are warnings, too
    options.log_severity_level = 3
    with refused("run by ONNX Runtime"):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
