"""Exported graphs compute what the checkpoint computes, for every architecture, scenario and mix of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import mobanet
from mobanet.exporting.deployed import deployed
from mobanet.exporting.describe import KEY, description
from mobanet.exporting.graph import capture
from mobanet.exporting.onnx_file import write_onnx
from mobanet.exporting.parity import allowed
from mobanet.scenarios.scenario import scenario_masks
from tests.exporting.small import (
    EXPORTED,
    TRACED,
    as_arrays,
    feeds,
    make,
    numbers,
    predicted,
    shortened,
    stored,
)


def each_mix(module, size) -> Iterator[tuple]:
    """Batches of one in every scenario, and one of all scenarios together with pixels that were not measured."""
    masks = scenario_masks(module.scenarios)
    for available in (*masks[:, None], masks.flip(0)):
        inputs, offset_scale = stored(module, len(available), size)
        if len(available) > 1:
            for x in inputs.values():
                x[0, 0, :20, 10:] = torch.nan
                x[1, :, 5] = torch.inf
        yield feeds(module, inputs, offset_scale, available), predicted(module, inputs, offset_scale, available)


def check(found, expected, tolerance):
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.long
@pytest.mark.parametrize("name", EXPORTED)
def test_an_onnx_file_agrees_with_the_network_in_every_scenario(name, tmp_path):
    modalities, options, tile = EXPORTED[name]
    module, beside = make(modalities, **options), name == "cbc_slp"  # of one, the weights are beside it
    learnt, file = numbers(module), tmp_path / "made/model.onnx"
    file.parent.mkdir()
    about = description(module, learnt, tile)
    write_onnx(deployed(module, learnt), tile, about, file, external=beside or None)
    file = file.parent.rename(tmp_path / "moved") / file.name
    assert {path.name for path in file.parent.iterdir()} == {"model.onnx", *(["model.onnx.data"] if beside else [])}
    tolerance = allowed(deployed(module, learnt), tile)  # what the export itself allows
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    outputs = []
    for given, expected in each_mix(module, tile):
        check(torch.from_numpy(session.run(None, as_arrays(given))[0]), expected, tolerance)
        outputs.append(expected[0])
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2 * outputs[0].abs().max()  # scenarios are told apart
    assert [entry.name for entry in session.get_inputs()] == ["ir", "dsm", "available", "dsm_offset_scale"]
    assert session.get_inputs()[0].shape == ["batch", 1, tile, tile]
    assert json.loads(session.get_modelmeta().custom_metadata_map[KEY]) == about
    content = onnx.load(file, load_external_data=False).SerializeToString()
    assert str(Path(mobanet.__file__).parent).encode() not in content  # no paths of this machine


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name != "dinov2")) for name in TRACED])
def test_a_traced_graph_agrees_with_the_network_in_every_scenario(name):
    modalities, options, tile = TRACED[name]
    module = shortened(make(modalities, **options))
    model = deployed(module, numbers(module))
    program, tolerance = capture(model, tile), allowed(model, tile)
    assert not any("stack_trace" in node.meta for node in program.graph.nodes)
    graph = program.module()
    for given, expected in each_mix(module, tile):
        with torch.no_grad():
            check(graph(given), expected, tolerance)


def test_scaling_inside_the_model_is_that_of_the_evaluation_bit_for_bit():
    module = make(scalings={"rgb": "unit", "dsm": "minmax"})
    inputs, offset_scale = stored(module, 3, 28)
    inputs["dsm"][0, :, 3:9] = torch.nan
    available = torch.tensor([[True, True], [False, True], [True, False]])
    model = deployed(module, numbers(module))
    with torch.no_grad():
        found = model(feeds(module, inputs, offset_scale, available))
    assert torch.equal(found, predicted(module, inputs, offset_scale, available))


@torch.no_grad()
def test_a_constant_tile_and_one_without_a_measured_pixel_are_zero_and_missing():
    module = make(scalings={"dsm": "minmax"})
    model, (inputs, offset_scale) = deployed(module, numbers(module)), stored(module, 2, 28)
    offset_scale["dsm"][:, 0], offset_scale["dsm"][:, 1] = 41.5, 0.0
    inputs["dsm"][0], inputs["dsm"][1] = 41.5, torch.nan
    scaled, available = model.prepare(feeds(module, inputs, offset_scale, torch.ones(2, 2, dtype=torch.bool)))
    assert not scaled["dsm"].any()
    assert available.tolist() == [[True, True], [True, False]]
