"""An `ExportedProgram` (.pt2): torch runs it without this package."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mobanet.exporting.deployed import DeployedModel
from mobanet.exporting.describe import KEY
from mobanet.exporting.graph import capture, quiet, refused
from mobanet.exporting.parity import Runner

DESCRIPTION_FILE = f"{KEY}.json"
"""Name of the description inside the archive."""


def write_program(model: DeployedModel, tile: int, description: Mapping[str, Any], path: Path) -> None:
    """Trace and write a model, which is in eval mode and on the CPU, with its description."""
    program = capture(model, tile)
    buffer = io.BytesIO()  # torch would turn the system's complaint into a RuntimeError without its number
    # the description goes into the archive, so that no second file can get lost
    with quiet(), refused("saved by torch.export"):
        torch.export.save(program, buffer, extra_files={DESCRIPTION_FILE: json.dumps(description)})
    # a view, since getvalue() would copy all weights
    with buffer.getbuffer() as content:
        path.write_bytes(content)


def run_program(path: Path) -> Runner:
    """What runs a saved program."""
    with quiet(), refused("read by torch.export"):
        return torch.export.load(path).module()
