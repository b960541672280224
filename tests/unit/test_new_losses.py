"""Losses of regions, hard pixels and borders against formulas in float64, and against a library where it is right."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from mobanet.training.losses import segmentation_loss
from mobanet.training.objective import LOSSES
from mobanet.training.pixel_losses import boundary_cross_entropy, focal_loss, near_another_class
from mobanet.training.region_losses import lovasz_loss, tversky_loss

IGNORED = 255


def example(seed=0, classes=4, lacking=False, side=9):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, side, side + 1, generator=generator)
    label = torch.randint(0, classes - lacking, (2, side, side + 1), generator=generator)
    label[0, :2] = IGNORED
    return logits.requires_grad_(), label


def flat(logits, label):
    """Probabilities (N, K) and classes (N,) of the pixels that count, in doubles."""
    scores = logits.detach().double().movedim(1, -1).reshape(-1, logits.shape[1]).numpy()
    scores = np.exp(scores - scores.max(1, keepdims=True))
    classes = label.reshape(-1).numpy()
    counted = classes != IGNORED
    return (scores / scores.sum(1, keepdims=True))[counted], classes[counted]


def over_classes(losses, weight):
    """The mean of losses by class, of those that there are."""
    own = {k: 1.0 if weight is None else float(weight[k]) for k in losses}
    return sum(own[k] * losses[k] for k in losses) / sum(own.values())


def tversky(p, y, weight, alpha, beta):
    losses = {}
    for k in np.unique(y):
        hit, other = p[y == k, k], p[y != k, k]
        union = hit.sum() + alpha * other.sum() + beta * (1 - hit).sum()
        losses[k] = 1 - hit.sum() / union
    return over_classes(losses, weight)


def lovasz(p, y, weight):
    """By the definition: the errors, the worst first, times what each adds to 1 - IoU of the set of those before it."""
    losses = {}
    for k in np.unique(y):
        errors = np.abs((y == k) - p[:, k])
        order = np.argsort(-errors, kind="stable")
        total, before = 0.0, 0.0
        wrong = np.zeros(len(y), bool)
        for i in order:
            wrong[i] = True
            missed, called = (wrong & (y == k)).sum(), (wrong & (y != k)).sum()
            jaccard = 1 - ((y == k).sum() - missed) / ((y == k).sum() + called)
            total += errors[i] * (jaccard - before)
            before = jaccard
        losses[k] = total
    return over_classes(losses, weight)


def over_pixels(values, y, weight):
    own = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)[y]
    return (values * own).sum() / own.sum()


def focal(p, y, weight, gamma):
    own = p[np.arange(len(y)), y]
    return over_pixels((1 - own) ** gamma * -np.log(own), y, weight)


def smoothed(p, y, weight, smoothing):
    given = np.ones(p.shape[1]) if weight is None else np.asarray(weight, np.float64)
    own = (1 - smoothing) * given[y] * -np.log(p[np.arange(len(y)), y])
    return (own + smoothing / p.shape[1] * (-np.log(p) * given).sum(1)).sum() / given[y].sum()


def near_by_hand(label, reach):
    near = np.zeros(label.shape, bool)
    for b, i, j in np.ndindex(*label.shape):
        around = label[b, max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1].numpy()
        near[b, i, j] = len(set(around[around != IGNORED].tolist())) > 1
    return near


REFERENCES = {
    "dice": (LOSSES["dice"], partial(tversky, alpha=0.5, beta=0.5)),
    "tversky": (LOSSES["tversky"], partial(tversky, alpha=0.3, beta=0.7)),
    "tversky with options": (partial(tversky_loss, alpha=1.0, beta=0.25), partial(tversky, alpha=1.0, beta=0.25)),
    "lovasz": (LOSSES["lovasz"], lovasz),
    "focal": (LOSSES["focal"], partial(focal, gamma=2)),
    "focal with a root": (partial(focal_loss, gamma=0.5), partial(focal, gamma=0.5)),
    "smoothed": (partial(segmentation_loss, smoothing=0.1), partial(smoothed, smoothing=0.1)),
}


@pytest.mark.parametrize("lacking", [False, True], ids=["all classes", "one lacking"])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])], ids=["alike", "weighted"])
@pytest.mark.parametrize("kind", REFERENCES)
def test_losses_are_their_formulas(kind, weight, lacking):
    loss, reference = REFERENCES[kind]
    logits, label = example(lacking=lacking)
    expected = reference(*flat(logits, label), weight)
    assert loss(logits, label, weight).item() == pytest.approx(expected, rel=2e-6)
    assert loss(logits.detach().double(), label, weight).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])], ids=["alike", "weighted"])
def test_pixels_near_another_class_count_more(reach, weight):
    logits, label = example(side=24)
    label = torch.where(torch.arange(25) < 12, 0, 2).expand(2, 24, 25).clone()  # an edge, and a small thing
    label[1, 20:, :3] = 3
    label[0, :6] = IGNORED
    near = near_by_hand(label, reach)
    assert np.array_equal(near_another_class(label, reach).numpy(), near)
    assert near.any()
    assert not near.all()
    p, y = flat(logits, label)
    times = np.where(near.reshape(-1)[label.reshape(-1) != IGNORED], 5.0, 1.0)
    own = times if weight is None else times * np.asarray(weight, np.float64)[y]
    expected = (own * -np.log(p[np.arange(len(y)), y])).sum() / own.sum()
    assert boundary_cross_entropy(logits, label, weight, reach).item() == pytest.approx(expected, rel=2e-6)
    plain = boundary_cross_entropy(logits, label, weight, reach, 1.0)
    torch.testing.assert_close(plain, segmentation_loss(logits, label, weight))


def test_a_margin_of_ignored_pixels_hides_the_border_behind_it():
    label = torch.zeros(1, 8, 20, dtype=torch.long)
    label[..., 10:] = 1
    label[..., 8:12] = IGNORED
    assert not near_another_class(label, 4)[label != IGNORED].any()
    assert near_another_class(label, 5)[label != IGNORED].any()


@pytest.mark.parametrize("kind", [name for name in LOSSES if name not in ("bce", "bce_on_probabilities")])
def test_ignored_pixels_and_the_order_of_crops_change_nothing(kind):
    logits, label = example()
    other = torch.where((label == IGNORED)[:, None], torch.randn_like(logits), logits.detach())
    loss = LOSSES[kind](logits, label)
    assert LOSSES[kind](other, label).item() == pytest.approx(loss.item(), rel=1e-6)
    assert LOSSES[kind](logits.flip(0), label.flip(0)).item() == pytest.approx(loss.item(), rel=1e-6)
    loss.backward()
    ignored = (label == IGNORED)[:, None].expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).any()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_are_those_of_finite_differences(kind):
    logits, label = example(side=3)
    assert torch.autograd.gradcheck(lambda x: LOSSES[kind](x, label), logits.detach().double().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", LOSSES)
def test_half_precision_is_summed_in_float32(kind, dtype):
    logits, label = example(side=40)
    half = logits.detach().to(dtype).requires_grad_()
    loss = LOSSES[kind](half, label)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(LOSSES[kind](half.detach().float(), label).item(), rel=1e-6)
    loss.backward()
    assert half.grad.dtype == dtype
    assert half.grad.isfinite().all()


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("size", [80.0, 1e4])
def test_certain_predictions_have_finite_losses_and_gradients(kind, size):
    _, label = example()
    label[label == IGNORED] = 0
    right = size * functional.one_hot(label, 4).movedim(-1, 1).float()
    for logits in (right.clone().requires_grad_(), (-right).requires_grad_()):
        loss = LOSSES[kind](logits, label)
        loss.backward()
        assert math.isfinite(loss.item())
        assert logits.grad.isfinite().all()
    kinds = ("bce", "bce_on_probabilities")
    assert LOSSES[kind](right, label).item() == pytest.approx(0, abs=1e-6) or kind in kinds


@pytest.mark.parametrize("kind", ["dice", "tversky", "lovasz"])
def test_classes_of_weight_zero_alone_leave_nothing_to_learn(kind):
    logits, label = example()
    loss = LOSSES[kind](logits, torch.zeros_like(label), torch.tensor([0.0, 1, 1, 1]))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_the_library_agrees_where_it_is_right():
    """In float32, with labels everywhere and every class there; else it has other answers (README)."""
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, label = example()
    theirs = {
        "dice": losses.DiceLoss("multiclass", ignore_index=IGNORED),
        "tversky": losses.TverskyLoss("multiclass", ignore_index=IGNORED, alpha=0.3, beta=0.7),
        "lovasz": losses.LovaszLoss("multiclass", ignore_index=IGNORED),
    }
    for kind, loss in theirs.items():
        assert LOSSES[kind](logits, label).item() == pytest.approx(loss(logits, label).item(), rel=1e-5)


def test_lovasz_is_exact_over_many_pixels():
    """As differences of the Jaccard index in float32, its slopes would lose half of their digits here."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 1000, 1000, generator=generator)
    label = torch.randint(0, 3, (1, 1000, 1000), generator=generator)
    exactly = lovasz_loss(logits.double().requires_grad_(), label)
    small, large = logits.requires_grad_(), logits.detach().double().requires_grad_()
    lovasz_loss(small, label).backward()
    lovasz_loss(large, label).backward()
    assert lovasz_loss(small, label).item() == pytest.approx(exactly.item(), rel=1e-6)
    difference = (small.grad - large.grad).abs().max() / large.grad.abs().max()
    assert difference < 1e-3
