"""From a network to one graph for every availability pattern and every batch size."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from mobanet.errors import UserError
from mobanet.exporting.deployed import DeployedModel
from mobanet.exporting.parity import random_feeds

BATCH = "batch"


def capture(model: DeployedModel, tile: int) -> ExportedProgram:
    """Trace a model, in eval mode on the CPU, at a fixed tile with any number of samples."""
    # more than one sample: torch.export takes a size of 1 for a constant
    feeds = next(feeds for feeds in random_feeds(model, tile) if len(feeds["available"]) > 1)
    return traced(model, feeds, {name: {0: Dim(BATCH, min=1)} for name in model.inputs})


def traced(model: nn.Module, given: Any, shapes: Any) -> ExportedProgram:
    """Trace a module of one argument, in eval mode on the CPU; `shapes` says which of its dimensions vary."""
    with quiet(), torch.no_grad(), refused("traced"):
        # not strict: without Dynamo, which takes fewer programs
        program = torch.export.export(model, (given,), dynamic_shapes=(shapes,), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths on this machine
    return program


@contextmanager
def written_out_attention(network: nn.Module) -> Iterator[None]:
    """Let timm's attention layers compute softmax(q·k)·v themselves, rather than by torch's fused operator.

    ONNX's converter takes that operator with four axes only; SAM's windows have three.
    """
    # only those that have it on, so that below it goes back to what it was
    layers: list[Any] = [part for part in network.modules() if getattr(part, "fused_attn", False)]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield
    finally:
        for layer in layers:
            layer.fused_attn = True


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Say in a sentence, with the first of their words, what the exporters, which raise anything, cannot do."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        cause: BaseException = error
        # exporters wrap what went wrong in errors that tell of themselves
        while cause.__cause__ is not None:
            cause = cause.__cause__
        words = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError(
            f"this network cannot be {what} ({words.rstrip('.')}); export its weights with --format folder instead."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what the exporters say about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
