"""Binary cross-entropy against sums written out by hand."""

import math

import pytest
import torch

from mobanet.training.losses import auxiliary_loss, hard_pixels, segmentation_loss
from mobanet.training.objective import LOSSES


def example(classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 3, 4, generator=generator)
    label = torch.randint(0, classes, (2, 3, 4), generator=generator)
    label[0, 0] = 255
    return logits.requires_grad_(), label


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def by_hand(logits, label, weight, twice):
    """Pixel by pixel, class by class, in doubles."""
    total = norm = 0.0
    for b, i, j in (label != 255).nonzero().tolist():
        own, scores = int(label[b, i, j]), logits[b, :, i, j].tolist()
        pairs = [(scores[1] - scores[0], own)] if len(scores) == 2 else [(x, k == own) for k, x in enumerate(scores)]
        losses = []
        for x, true in pairs:
            p = sigmoid(sigmoid(x)) if twice else sigmoid(x)
            losses.append(-math.log(p if true else 1 - p))
        w = 1.0 if weight is None else float(weight[own])
        total += w * sum(losses) / len(losses)
        norm += w
    return total / norm


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("kind", ["bce", "bce_on_probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_is_what_is_written_out(classes, kind, weighted):
    logits, label = example(classes)
    weight = torch.tensor([1.0, 3.0, 0.5, 0.0][:classes]) if weighted else None
    expected = by_hand(logits, label, weight, kind == "bce_on_probabilities")
    assert LOSSES[kind](logits, label, weight).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 3.0])])
def test_of_two_classes_it_is_cross_entropy_and_so_are_its_gradients(weight):
    logits, label = example(2)
    gradients = []
    for kind in ("cross_entropy", "bce"):
        loss = LOSSES[kind](logits, label, weight)
        gradients.append((loss.detach(), *torch.autograd.grad(loss, logits)))
    torch.testing.assert_close(*gradients)


def test_the_second_sigmoid_holds_the_loss_where_the_paper_says():
    label = torch.tensor([[[0, 1]]])
    certain = torch.tensor([[[[40.0, -40.0]], [[-40.0, 40.0]]]])  # right, beyond doubt
    loss = LOSSES["bce_on_probabilities"]
    assert loss(certain, label, None).item() == pytest.approx(0.6931 - 0.3799 * 0.5, abs=1e-4)
    assert loss(certain[..., 1:], label[..., 1:], None).item() == pytest.approx(0.3133, abs=1e-4)
    assert LOSSES["bce"](certain, label, None).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weight", [None, torch.zeros(4)])
@pytest.mark.parametrize("kind", LOSSES)
def test_loss_without_a_counted_pixel_is_zero_and_attached(kind, weight, classes):
    logits, label = example(classes)
    loss = LOSSES[kind](logits, torch.full_like(label, 255), None if weight is None else weight[:classes])
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_auxiliary_losses_are_of_the_kind_asked_for():
    (logits, label), (own, _) = example(4), example(4, 1)
    values = {
        kind: auxiliary_loss({"optical": own}, logits, label, loss=loss)["optical"] for kind, loss in LOSSES.items()
    }
    for kind, loss in LOSSES.items():
        assert torch.equal(values[kind], loss(own, hard_pixels(logits, label), None))
    assert torch.equal(values["cross_entropy"], auxiliary_loss({"optical": own}, logits, label)["optical"])
    assert LOSSES["cross_entropy"] is segmentation_loss
    del values[
        "boundary_cross_entropy"
    ]  # in so small a crop every pixel is near another class, and it is the plain one
    assert len({value.item() for value in values.values()}) == len(LOSSES) - 1
