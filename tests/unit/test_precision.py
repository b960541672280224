"""What `auto` becomes on hardware that is not here, and numbers that no precision may take digits from."""

from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch.plugins import HalfPrecision, MixedPrecision

from mobanet.checkpoints.exact import moving
from mobanet.data.batch import StoredBatch
from mobanet.errors import UserError
from mobanet.evaluation.jaccard import SoftJaccard
from mobanet.models import precision
from mobanet.models.base import Standardization
from mobanet.models.inputs import scaled_inputs
from mobanet.models.precision import explained, matmul_precision, remark, resolved, trained_precision, weight_dtype
from mobanet.scenarios.sampling import draw_availability
from mobanet.training.losses import segmentation_loss
from mobanet.training.optim import OPTIMIZERS, build_optimizer
from mobanet.training.trainer import Trainer

AMX, AVX512, AVX2 = ({"amx_bf16": True}, True), ({"avx512_bf16": False}, True), ({}, False)
"""Capabilities of a CPU, and whether oneDNN takes bfloat16 on it: by its units, through float32, or not at all."""


@pytest.fixture
def machine(monkeypatch):
    """Has torch and Lightning find other hardware."""

    def have(cpu=AVX2, gpus=(), mps=False):
        capabilities, takes = cpu
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: takes, raising=False)
        for name, there in (("CUDA", bool(gpus)), ("MPS", mps), ("XLA", False)):
            accelerator = getattr(precision, f"{name}Accelerator")
            monkeypatch.setattr(accelerator, "is_available", lambda there=there: there)
        monkeypatch.setattr(precision.CUDAAccelerator, "auto_device_count", lambda: len(gpus))
        monkeypatch.setattr(
            precision.CUDAAccelerator, "parse_devices", lambda n: list(range(n)) if isinstance(n, int) else n
        )
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: gpus[index])

    return have


@contextmanager
def default_type(dtype):
    """What Lightning's true precisions have torch create tensors in within a step."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


V100, A100, H200 = (7, 0), (8, 0), (9, 0)


@pytest.mark.parametrize(
    ("have", "where", "wanted"),
    [
        ({"cpu": AMX}, {}, "bf16-mixed"),
        ({"cpu": ({"bf16": True}, True)}, {}, "bf16-mixed"),  # ARM
        ({"cpu": ({"amx_bf16": True}, False)}, {}, "32-true"),  # oneDNN is told not to
        ({"cpu": AVX512}, {}, "32-true"),
        ({"cpu": AVX2}, {}, "32-true"),
        ({"gpus": [A100]}, {}, "bf16-mixed"),
        ({"gpus": [V100]}, {}, "16-mixed"),
        ({"gpus": [V100], "cpu": AMX}, {"accelerator": "cpu"}, "bf16-mixed"),
        ({"gpus": [A100]}, {"accelerator": "cpu"}, "32-true"),
        ({"gpus": [A100, V100]}, {"accelerator": "gpu"}, "16-mixed"),
        ({"gpus": [A100, V100]}, {"accelerator": "cuda", "devices": [0]}, "bf16-mixed"),
        ({"gpus": [A100, H200]}, {"devices": 2}, "bf16-mixed"),
        ({"mps": True, "cpu": AMX}, {}, "32-true"),
        ({"mps": True, "cpu": AMX}, {"accelerator": "gpu"}, "32-true"),
        ({"cpu": AMX}, {"accelerator": "cuda"}, "32-true"),  # which Lightning then refuses by name
    ],
)
def test_auto_is_what_the_hardware_computes_in(have, where, wanted, machine):
    machine(**have)
    assert resolved("auto", **where) == wanted
    assert resolved("64-true", **where) == "64-true"
    assert resolved(None, **where) is None


def test_auto_on_gpus_cannot_be_found_out_before_a_fork(machine):
    machine(gpus=[A100])
    with pytest.raises(UserError, match=r"auto does not go with `trainer\.strategy` ddp_fork; name a"):
        resolved("auto", strategy="ddp_fork")
    assert resolved("auto", accelerator="cpu", strategy="ddp_fork") == "32-true"


def test_the_trainer_takes_auto_and_leaves_it_to_a_plugin(machine):
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    machine(cpu=AMX)
    trainer = Trainer(precision="auto", **options)
    assert (trainer.precision, trainer.asked_precision) == ("bf16-mixed", "auto")
    machine(cpu=AVX2)
    assert Trainer(precision="auto", **options).precision == "32-true"
    assert Trainer(**options).precision == "32-true"
    given = Trainer(precision="auto", plugins=[MixedPrecision("bf16-mixed", "cpu")], **options)
    assert (given.precision, given.asked_precision) == ("bf16-mixed", None)


def test_what_is_said_of_a_precision(machine):
    machine(cpu=AVX512, gpus=[V100])
    assert explained("32-true", "auto", "cpu") == "32-true (auto: the CPU has no units for bfloat16)"
    assert explained("16-mixed", "auto", "cuda") == "16-mixed (auto: the GPU has no units for bfloat16)"
    assert explained("bf16-mixed", "auto", "cuda") == "bf16-mixed (auto: the GPU computes in bfloat16)"
    assert explained("32-true", "auto", "mps") == "32-true (auto)"
    assert explained("32-true", "32-true", "cpu") == "32-true"
    assert "17 times the length" in remark("bf16-true", "cpu")
    assert "--precision 16-mixed is faster" in remark("bf16-mixed", "cuda")
    assert "small gradients are lost" in remark("16-true", "cuda")
    assert [remark(*each) for each in (("32-true", "cpu"), ("16-mixed", "cuda"), ("bf16-mixed", "mps"))] == [None] * 3
    machine(cpu=AMX, gpus=[A100])
    assert [remark("bf16-mixed", kind) for kind in ("cpu", "cuda")] == [None] * 2
    assert trained_precision({"precision": "bf16-mixed"}) == "bf16-mixed"
    assert [trained_precision(each) for each in ({}, {"precision": 3})] == [None] * 2


def test_float32_products_are_as_before_afterwards():
    before = torch.get_float32_matmul_precision()
    assert before != "high"
    with matmul_precision("high"):
        assert torch.get_float32_matmul_precision() == "high"
        with matmul_precision(None):
            assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("name", ["bf16-true", "16-true", "64-true"])
def test_heights_keep_their_decimetres(name):
    heights = 350.37 + torch.arange(64, dtype=torch.float32).reshape(1, 1, 8, 8) / 10
    batch = {
        "inputs": {"dsm": heights},
        "offset_scale": {"dsm": torch.tensor([[[350.37], [12.6]]])},
        "valid": {"dsm": torch.ones(1, 8, 8, dtype=torch.uint8)},
        "available": torch.ones(1, 1, dtype=torch.bool),
    }
    standardization = {"dsm": Standardization((0.5,), (0.25,))}
    expected = scaled_inputs(batch, standardization)["dsm"]
    assert len(expected.unique()) == 64
    converted = HalfPrecision("bf16-true").convert_input(StoredBatch(batch)).to("cpu")
    with default_type(weight_dtype(name)):
        found = scaled_inputs(converted, standardization)["dsm"]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_conversion_moves_what_is_exact_and_takes_no_digits():
    third = torch.tensor([1 / 3])
    assert torch.equal(moving(lambda x: x.to(torch.bfloat16))(third), third)
    moved = moving(lambda x: x.to("meta", torch.float16))(third)
    assert (moved.device.type, moved.dtype) == ("meta", torch.float32)
    scores = SoftJaccard().to(torch.bfloat16)
    scores.update(torch.tensor([[[[0.3]], [[0.1]]]]), torch.tensor([[[1]]]))
    assert scores.sums.dtype == torch.int64
    assert scores.compute().images == 1


def test_draws_and_losses_are_the_same_in_any_precision():
    masks = torch.tensor([[True, False], [False, True], [True, True]])
    probabilities, available = torch.tensor([0.3, 0.3, 0.4]), torch.ones(500, 2, dtype=torch.bool)
    draws = []
    logits, label, weight = torch.randn(2, 3, 5, 5).bfloat16(), torch.randint(0, 3, (2, 5, 5)), torch.rand(3)
    losses = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        with default_type(dtype):
            generator = torch.Generator().manual_seed(0)
            draws.append(draw_availability(probabilities, masks, available, generator))
        losses.append(segmentation_loss(logits.double() if dtype == torch.float64 else logits, label, weight))
    assert all(torch.equal(draws[0], each) for each in draws)
    assert [loss.dtype for loss in losses] == [torch.float32] * 3 + [torch.float64]
    assert [float(loss) for loss in losses] == pytest.approx([float(losses[0])] * 4, rel=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_in_float16_is_a_number(name):
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        parameter = torch.nn.Parameter(torch.ones(4, dtype=dtype))
        optimizer = build_optimizer(name, [{"params": [parameter], "lr": 1e-2}], dtype)
        parameter.grad = torch.tensor([0, 1e-6, 1e-3, 1], dtype=dtype)
        optimizer.step()
        assert parameter.isfinite().all()
        assert (1 - parameter).abs().max() < 0.1
