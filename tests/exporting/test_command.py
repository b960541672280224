"""The command line: every format of one run, what the card takes from the run, mistakes, and uploads."""

import csv
import http.server
import os
import threading

import huggingface_hub
import numpy as np
import onnxruntime
import pytest
import torch

from mobanet.export import main
from mobanet.exporting.places import from_pretrained
from tests.exporting.small import keep, make


@pytest.fixture
def call(command):
    return lambda *words: command(main, [str(word) for word in words])


@pytest.mark.long
def test_every_format_says_what_it_takes_and_computes_the_same(call, run_folder, tmp_path):
    checkpoint = run_folder / "checkpoints/best.ckpt"
    said = {}
    for kind in ("onnx", "torch", "safetensors", "folder"):
        ended = call("--ckpt_path", checkpoint, "--format", kind, "--output", tmp_path / kind)
        assert ended.code == 0, ended.err
        said[kind] = ended.out.splitlines()
        assert said[kind][0].startswith("network  mobanet, vit_tiny_patch16_224")
        assert "3 scenarios, batches of 1 and 3" in said[kind][-2]
        assert said[kind][-1].startswith(f"{tmp_path / kind} is there, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "onnx", "safetensors", "torch"]
    session = onnxruntime.InferenceSession(tmp_path / "onnx")
    shapes = {given.name: given.shape[1:] for given in session.get_inputs()}
    assert shapes.keys() == {"rgb", "dsm", "available", "dsm_offset_scale"}
    assert f"rgb (B, 3, {shapes['rgb'][1]}, {shapes['rgb'][2]}) float32" in said["onnx"][1]
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (2, *shapes["rgb"])).astype(np.float32)
    dsm = rng.normal(30, 9, (2, *shapes["dsm"])).astype(np.float32)
    offset_scale = np.array([[[30.0], [9.0]]] * 2, np.float32)
    available = np.array([[True, True], [True, False]])
    (logits,) = session.run(None, {"rgb": rgb, "dsm": dsm, "available": available, "dsm_offset_scale": offset_scale})
    for kind in ("safetensors", "folder"):
        inputs = {"rgb": torch.from_numpy(rgb), "dsm": torch.from_numpy(dsm)}
        found = from_pretrained(tmp_path / kind).predict(
            inputs, torch.from_numpy(available), {"dsm": torch.from_numpy(offset_scale)}
        )
        assert np.abs(found.numpy() - logits).max() < 1e-4 * np.abs(logits).max()


def test_the_card_has_the_figures_of_the_test(call, run_folder, tmp_path):
    ended = call(
        "--ckpt_path", run_folder / "checkpoints/best.ckpt", "--format", "folder", "--output", tmp_path / "roofs"
        , "--license", "cc-by-4.0"
    )  # fmt: skip
    assert ended.code == 0, ended.err
    card = (tmp_path / "roofs/README.md").read_text()
    rows = (run_folder / "test/test_scenarios.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 + 7  # a header, and beside the scenarios what is made of them
    head = huggingface_hub.ModelCard(card).data
    assert (head.license, head.library_name, head.model_name) == ("cc-by-4.0", "mobanet", "roofs")
    mious = {each.dataset_config: each.metric_value for each in head.eval_results if each.metric_type == "mean_iou"}
    told = {row["scenario"]: row["miou"] for row in csv.DictReader(rows)}
    assert mious.keys() == told.keys() - {"standard deviation"} - {name for name in told if name.startswith("worst")}
    assert all(value == pytest.approx(100 * float(told[name]), abs=0.006) for name, value in mious.items())
    section = card.split("## Figures")[1].split("\n## ")[0]
    for scenario in ("rgb", "dsm", "rgb+dsm"):
        assert f"| {scenario} |" in section
    assert 'from_pretrained("roofs")' in card


def test_without_an_output_it_lies_beside_the_checkpoint(call, tmp_path):
    checkpoint = keep(make(), tmp_path / "model.ckpt")
    assert call("--ckpt_path", checkpoint, "--format", "safetensors").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ckpt", "model.safetensors"]


MISTAKES = {
    "no checkpoint": ([], "--ckpt_path is missing"),
    "missing": (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt does not exist"),
    "no checkpoint at all": (["--ckpt_path", "{other}"], "cannot be read as a checkpoint"),
    "format": (
        ["--ckpt_path", "{model}", "--format", "onx"],
        "--format cannot be onx",
        "onnx, torch, deepness, safetensors",
    ),
    "tile of no patches": (["--ckpt_path", "{model}", "--tile", "15"], "--tile is 15", "no multiple"),
    "tile of nothing": (["--ckpt_path", "{model}", "--tile", "0"], "--tile is 0"),
    "tile of a folder": (["--ckpt_path", "{model}", "--format", "folder", "--tile", "64"], "--tile is for"),
    "weights of a graph": (["--ckpt_path", "{model}", "--weights", "full"], "--weights full is for --format folder"),
    "licence of a graph": (["--ckpt_path", "{model}", "--license", "mit"], "--license is for --format folder"),
    "backbone not left out": (["--ckpt_path", "{model}", "--backbone", "{other}"], "--backbone", "leave it out"),
    "upload of a graph": (["--ckpt_path", "{model}", "--push_to_hub", "me/it"], "--push_to_hub is for --format folder"),
    "no repository": (
        ["--ckpt_path", "{model}", "--format", "folder", "--push_to_hub", "it"],
        "--push_to_hub it is no name",
    ),
    "no token": (
        ["--ckpt_path", "{model}", "--format", "folder", "--push_to_hub", "me/it"],
        "--push_to_hub me/it needs a token",
        "HF_TOKEN",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_end_in_one_sentence_and_leave_nothing(case, call, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: os.environ.get("HF_TOKEN"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    places = {"model": keep(make(), tmp_path / "model.ckpt"), "other": tmp_path / "other.txt"}
    places["other"].write_text("no weights")
    words, *parts = MISTAKES[case]
    words = [word.format(**places) for word in words]
    ended = call(*words, *(["--output", tmp_path / "out"] if words else []))
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("error: ")
    assert all(part in ended.err.splitlines()[-1] for part in parts), ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ckpt", "other.txt"]


def test_a_hub_that_refuses_is_said_and_the_folder_stays(call, tmp_path, monkeypatch):
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_):
            pass

    asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("HF_TOKEN", "hf_none")
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the suite never asks the real hub
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        # before 1.0 a session that was opened offline stays so
        getattr(huggingface_hub.utils._http, "reset_sessions", lambda: None)()
        checkpoint = keep(make(), tmp_path / "model.ckpt")
        words = ("--format", "folder", "--output", tmp_path / "roofs", "--push_to_hub", "me/roofs")
        ended = call("--ckpt_path", checkpoint, *words)
    finally:
        server.shutdown()
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("error: --push_to_hub me/roofs: the hub refuses")
    assert asked == ["/api/repos/create"], ended.err
    assert sorted(path.name for path in (tmp_path / "roofs").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "stac_item.json",
    ]
