"""A file in which some bytes are others than were written is refused, or holds what it held."""

import random

import torch

from mobanet.checkpoints.archive import load_file
from mobanet.errors import UserError
from mobanet.exporting.places import from_pretrained
from mobanet.exporting.pretrained import save_pretrained
from mobanet.exporting.weights import read_weights
from tests.conftest import same as same_numbers
from tests.exporting.small import DSM, RGB, make, numbers

ROUNDS = 60


def damaged(whole, seed):
    """One to four bytes changed; half of them near an end, where a file says how it is laid out."""
    draw, content = random.Random(seed), bytearray(whole)
    size = len(content)
    for _ in range(draw.randint(1, 4)):
        ends = (range(min(2000, size)), range(max(0, size - 9000), size))
        content[draw.choice(draw.choice((range(size), range(size), *ends)))] ^= draw.randint(1, 255)
    return bytes(content)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and same_numbers(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def test_bytes_of_a_checkpoint(written, tmp_path):
    path = written()
    whole, content, refusals = path.read_bytes(), load_file(path, "--ckpt_path"), []
    for seed in range(ROUNDS):
        changed = tmp_path / f"{seed}.ckpt"
        changed.write_bytes(damaged(whole, seed))
        try:
            assert same(content, load_file(changed, "--ckpt_path"))
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) > ROUNDS / 2
    assert all("ckpt cannot be read as a checkpoint" in words for words in refusals)


def test_bytes_of_exported_weights(tmp_path):
    module = make((RGB, DSM))
    file = save_pretrained(module, numbers(module), tmp_path / "folder") / "model.safetensors"
    whole, (state, metadata), refusals = file.read_bytes(), read_weights(file), []
    for seed in range(ROUNDS):
        file.write_bytes(damaged(whole, seed))
        try:
            found, about = read_weights(file)
            assert same(state, found)
            assert about.get("mobanet", metadata["mobanet"]) == metadata["mobanet"]
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) > ROUNDS / 2
    assert all(words.startswith(f"{file} cannot be read as safetensors") for words in refusals)


def test_bytes_of_an_exported_configuration(tmp_path):
    module = make((RGB, DSM))
    folder = save_pretrained(module, numbers(module), tmp_path / "folder")
    whole, refusals = (folder / "config.json").read_bytes(), []
    for seed in range(ROUNDS // 4):
        (folder / "config.json").write_bytes(damaged(whole, seed))
        try:
            assert dict(from_pretrained(folder).module.hparams) == dict(module.hparams)
        except UserError as error:
            refusals.append(str(error))
    assert refusals
    assert all(words.startswith(f"{folder}") for words in refusals)
