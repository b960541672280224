"""The converted network of the scenario paper gives its authors' numbers."""

import hashlib
import zlib

import numpy as np
import pytest
import torch

from mobanet.errors import UserError
from mobanet.models.cmx.convert import cmx_from_authors
from mobanet.scenarios.distortion import DistortionMeter
from mobanet.scenarios.scenario import scenario_masks, scenarios_of


def authors_manifest() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the 294 entries of a checkpoint of the authors' three-modality network."""
    shapes: dict[str, tuple[int, ...]] = {"modal_proj.weight": (3, 6, 1, 1)}

    def add(name: str, *weight: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = weight[:1]

    def add_batch_norm(name: str, width: int) -> None:
        add(name, width)
        shapes[f"{name}.running_mean"] = shapes[f"{name}.running_var"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    for stream in ("rgb", "mod"):
        widths = {"stem": (3, 64), "s1": (64, 64), "s2": (64, 128), "s3": (128, 320), "s4": (320, 512)}
        for stage, (before, width) in widths.items():
            block = f"core.backbone.{stream}_{stage}.block"
            add(f"{block}.0", width, before, 3, 3, bias=False)
            add_batch_norm(f"{block}.1", width)
            add(f"{block}.3", width, width, 3, 3, bias=False)
            add_batch_norm(f"{block}.4", width)
    for stage, c in enumerate((64, 128, 320, 512)):
        frm, ffm = f"core.backbone.frm.{stage}", f"core.backbone.ffm.{stage}"
        add(f"{frm}.channel_weights.mlp.0", 4 * c, 4 * c)
        add(f"{frm}.channel_weights.mlp.2", 2 * c, 4 * c)
        add(f"{frm}.spatial_weights.mlp.0", c, 2 * c, 1, 1)
        add(f"{frm}.spatial_weights.mlp.2", 2, c, 1, 1)
        for stream in (1, 2):
            add(f"{ffm}.cross.channel_proj{stream}", 2 * c, c)
            add(f"{ffm}.cross.cross_attn.kv{stream}", 2 * c, c, bias=False)
            add(f"{ffm}.cross.end_proj{stream}", c, 2 * c)
            add(f"{ffm}.cross.norm{stream}", c)
        add(f"{ffm}.channel_emb.residual", c, 2 * c, 1, 1, bias=False)
        add(f"{ffm}.channel_emb.channel_embed.0", c, 2 * c, 1, 1)
        add(f"{ffm}.channel_emb.channel_embed.1", c, 1, 3, 3)
        add(f"{ffm}.channel_emb.channel_embed.3", c, c, 1, 1)
        add_batch_norm(f"{ffm}.channel_emb.channel_embed.4", c)
        add_batch_norm(f"{ffm}.channel_emb.norm", c)
        add(f"core.decode_head.linear_c{stage + 1}.proj", 256, c)
    add("core.decode_head.linear_fuse.0", 256, 1024, 1, 1)
    add_batch_norm("core.decode_head.linear_fuse.1", 256)
    add("core.decode_head.linear_pred", 1, 256, 1, 1)
    return shapes


def values_by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [-1, 1) that follow from a name alone (splitmix64 on its CRC-32)."""
    start = np.uint64(((zlib.crc32(name.encode()) << 32) + 0x9E3779B97F4A7C15) % 2**64)
    t = np.arange(int(np.prod(shape)), dtype=np.uint64) + start  # wraps around
    t = (t ^ (t >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    t = (t ^ (t >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    t ^= t >> np.uint64(31)
    return (2 * (t >> np.uint64(11)).astype(np.float64) / 2**53 - 1).reshape(shape)


def weight_by_rule(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if not shape:
        return torch.tensor(0)
    v = values_by_rule(name, shape)
    if name.endswith("running_var"):
        v = 1 + 0.5 * v
    elif name.endswith(("running_mean", ".bias")):
        v = 0.1 * v
    elif len(shape) == 1:
        v = 1 + 0.1 * v
    else:
        v = v * np.sqrt(3 / np.prod(shape[1:]))
    return torch.from_numpy(v)


@pytest.fixture(scope="module")
def authors_state() -> dict[str, torch.Tensor]:
    return {name: weight_by_rule(name, shape) for name, shape in authors_manifest().items()}


@pytest.fixture(scope="module")
def golden_inputs() -> dict[str, torch.Tensor]:
    image = torch.from_numpy(values_by_rule("input", (1, 3, 3, 224, 224)))
    return {"rgb": image[:, 0], "nir": image[:, 1], "swir": image[:, 2]}


# By availability: latent mean, std, first, last; probabilities' mean, std, and pixels (0, 0), (112, 112), (223, 223).
GOLDEN = {
    "100": (
        "0.039276988 1.211510622 0.621152839 -0.160515858 0.457151479 0.062094360 0.449942753 0.505932678 0.381334685"
    ),
    "011": (
        "0.043972972 1.207182097 0.652432479 -0.501339341 0.424559754 0.058716864 0.405556329 0.464174420 0.308922801"
    ),
    "111": (
        "0.038646122 1.210185261 0.546710208 -0.340425102 0.435951498 0.060682022 0.388547463 0.440175139 0.402231221"
    ),
}
GOLDEN_DISTORTIONS = (
    2.841723180e-2,
    3.915978723e-2,
    4.398177710e-2,
    1.230502479e-2,
    1.655661214e-2,
    2.895583650e-2,
    0,
)


def test_the_manifest_is_the_authors():
    lines = (
        f"{name} {'x'.join(map(str, shape)) or 'scalar'}\n"
        for name, shape in sorted(authors_manifest().items(), key=lambda entry: entry[0].encode())
    )
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert len(authors_manifest()) == 294
    assert digest == "f468d870abea73918d4f30fe91e02712a3e02cdcd7d1d4d9d56a6103128fc7c2"
    np.testing.assert_allclose(values_by_rule("input", (3,)), [0.99511419, -0.30040534, 0.55908852], atol=5e-9)


@torch.inference_mode()
def test_the_authors_checkpoint_gives_the_authors_numbers(authors_state, golden_inputs):
    model = cmx_from_authors(authors_state)
    assert not model.training
    assert (list(model.modalities), model.num_classes) == (["rgb", "nir", "swir"], 1)
    patterns = [torch.tensor([[digit == "1" for digit in mask]]) for mask in GOLDEN]
    for output, expected in zip(model.forward_each(golden_inputs, patterns), GOLDEN.values(), strict=True):
        z, y = output.latent, torch.sigmoid(output.logits)[0, 0]
        pixels = [y[i, i].item() for i in (0, 112, 223)]
        found = [z.mean(), z.std(correction=0), z.flatten()[0], z.flatten()[-1], y.mean(), y.std(correction=0), *pixels]
        np.testing.assert_allclose(found, [float(number) for number in expected.split()], rtol=0, atol=1e-8)


@torch.inference_mode()
def test_distortions_are_those_of_the_authors(authors_state, golden_inputs):
    model = cmx_from_authors(authors_state)
    meter = DistortionMeter(scenario_masks(scenarios_of(list(model.modalities))))
    meter.add(model, golden_inputs, torch.ones(1, 3, dtype=torch.bool))
    np.testing.assert_allclose(meter.result().mean, GOLDEN_DISTORTIONS, rtol=1e-6, atol=0)


@torch.inference_mode()
def test_a_whole_checkpoint_of_a_parallel_run_is_taken_too(authors_state):
    wrapped = {"epoch": 3, "model_state_dict": {f"module.{name}": value for name, value in authors_state.items()}}
    found, expected = cmx_from_authors(wrapped).state_dict(), cmx_from_authors(authors_state).state_dict()
    assert all(found[name] is not None and torch.equal(found[name], value) for name, value in expected.items())


def test_other_checkpoints_are_refused(authors_state):
    name = "core.backbone.frm.0.channel_weights.mlp.0.weight"
    with pytest.raises(UserError, match=r"is \(256, 255\) where \(256, 256\) is expected"):
        cmx_from_authors({**authors_state, name: authors_state[name][:, 1:]})
    with pytest.raises(UserError, match=r"has unknown core\.extra"):
        cmx_from_authors({**authors_state, "core.extra": torch.zeros(1)})
    with pytest.raises(UserError, match=r"lacks modal_proj\.weight"):
        cmx_from_authors({key: value for key, value in authors_state.items() if key != "modal_proj.weight"})
    with pytest.raises(UserError, match=r"lacks core\.decode_head\.linear_pred"):
        cmx_from_authors({"weight": torch.zeros(1)})
