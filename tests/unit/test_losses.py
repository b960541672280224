import pytest
import torch
from torch.nn import functional

from mobanet.training.losses import auxiliary_loss, hard_pixels, segmentation_loss


def example(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 5, 6, generator=generator)
    label = torch.randint(0, 4, (2, 5, 6), generator=generator)
    label[0, :2] = 255
    return logits.requires_grad_(), label


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])])
def test_loss_is_cross_entropy_over_counted_pixels(weight):
    logits, label = example()
    expected = functional.cross_entropy(logits, label, weight, ignore_index=255)
    torch.testing.assert_close(segmentation_loss(logits, label, weight), expected)


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])])
def test_loss_without_a_counted_pixel_is_zero_and_attached(weight):
    logits, label = example()
    loss = segmentation_loss(logits, torch.full_like(label, 255), weight)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_hard_pixels_are_those_the_fused_prediction_gets_wrong():
    logits, label = example()
    hard = hard_pixels(logits, label)
    right = logits.argmax(1) == label
    assert (hard[right] == 255).all()
    assert torch.equal(hard[~right], label[~right])
    assert right.any()
    assert (~right & (label != 255)).any()


def test_auxiliary_loss_looks_at_hard_pixels_only():
    logits, label = example()
    own, _ = example(1)
    losses = auxiliary_loss({"optical": own}, logits, label)
    expected = functional.cross_entropy(own, hard_pixels(logits, label), ignore_index=255)
    torch.testing.assert_close(losses["optical"], expected)


def test_auxiliary_loss_of_a_perfect_fused_prediction_is_zero_and_attached():
    _, label = example()
    label[label == 255] = 0
    perfect = functional.one_hot(label, 4).permute(0, 3, 1, 2).float()
    own, _ = example(1)
    loss = auxiliary_loss({"optical": own}, perfect, label)["optical"]
    loss.backward()
    assert loss.item() == 0.0
    assert own.grad is not None


def test_auxiliary_loss_leaves_out_samples_without_the_stream():
    logits, label = example()
    own, _ = example(1)
    present = {"optical": torch.tensor([False, True]), "elevation": torch.tensor([False, False])}
    losses = auxiliary_loss({"optical": own, "elevation": own}, logits, label, present=present)
    expected = functional.cross_entropy(own[1:], hard_pixels(logits, label)[1:], ignore_index=255)
    torch.testing.assert_close(losses["optical"], expected)
    losses["elevation"].backward()
    assert losses["elevation"].item() == 0.0
    assert torch.equal(own.grad, torch.zeros_like(own))
    everything = {"optical": torch.ones(2, dtype=torch.bool)}
    one, two = (auxiliary_loss({"optical": own}, logits, label, present=p)["optical"] for p in (None, everything))
    assert torch.equal(one, two)
