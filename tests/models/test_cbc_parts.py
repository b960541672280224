"""The parts of CBC that are computed in another way than they are described in."""

import itertools

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from mobanet.models.cbc.decoder import Join, find_neighbourhoods
from mobanet.models.cbc.encoder import BandEncoder
from mobanet.models.cbc.fusion import Correlation, repeat_bands
from mobanet.models.cbc.pretrained import fill_encoder
from mobanet.models.cbc.volumes import instance_norm


@pytest.mark.parametrize(("depth", "size"), [(1, 4), (3, 16), (4, 13), (5, 4), (9, 9)])
def test_joining_a_skip_is_convolving_the_concatenation(depth, size):
    join = Join(3, 2, 4).double()
    skip = torch.randn(2, 3, depth, 5, 7, dtype=torch.float64, requires_grad=True)
    volume = torch.randn(2, 2, size, size, size, dtype=torch.float64, requires_grad=True)
    resized = F.interpolate(skip, (size,) * 3, mode="nearest")
    padded = F.pad(torch.cat((resized, volume), 1), (1,) * 6, mode="replicate")
    expected, found = instance_norm(F.relu(join.conv(padded))), join(skip, volume)
    torch.testing.assert_close(found, expected)
    given, weight = (skip, volume, *join.parameters()), torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), given),
        torch.autograd.grad((expected * weight).sum(), given),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_three_bands_have_seven_kinds_of_neighbourhood():
    planes, counts = find_neighbourhoods(3, 128)
    kinds = list(zip(planes[::3], planes[1::3], planes[2::3], strict=True))
    assert kinds == [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2)]
    assert sum(counts) == 128


def test_fewer_bands_are_repeated_as_nearest_resize_does():
    volume = torch.randn(1, 2, 2, 3, 3)
    for depth in (2, 3, 4, 7):
        assert torch.equal(repeat_bands(volume, depth), F.interpolate(volume, (depth, 3, 3), mode="nearest"))


@torch.no_grad()
def test_bands_are_a_convolution_in_three_dimensions():
    torch.manual_seed(0)
    encoder = BandEncoder(4, (1, 1, 1, 1), 2, 2)
    first = []
    encoder.stem.register_forward_hook(lambda _, __, output: first.append(output))
    x = torch.randn(2, 5, 33, 20)
    levels = encoder(x)
    expected = F.conv3d(x[:, None], encoder.stem.weight[:, None], stride=(1, 2, 2), padding=(1, 3, 3))
    torch.testing.assert_close(first[0].unflatten(0, (2, 5)).transpose(1, 2), expected, rtol=1e-4, atol=1e-5)
    assert [tuple(level.shape[1:]) for level in levels] == [
        (2, 5, 9, 5),
        (4, 5, 9, 5),
        (8, 5, 5, 3),
        (16, 5, 3, 2),
        (8, 16),
    ]


@torch.no_grad()
def test_a_resnet_fills_the_encoder():
    torch.manual_seed(0)
    resnet = timm.create_model("resnet50", pretrained=False)
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
    encoder = BandEncoder(64, (3, 4, 6, 3), 8, 2)
    fill_encoder(encoder, resnet.state_dict())
    resnet.eval(), encoder.eval()
    x = torch.randn(1, 64, 8, 8)
    for stage in range(4):
        expected = getattr(resnet, f"layer{stage + 1}")(x)
        torch.testing.assert_close(encoder.stages[stage](x), expected)
        x = expected
    # Three equal bands are to the taps, which share the kernel's mean, a third of what equal colours are to the kernel.
    gray = torch.randn(1, 1, 32, 32).expand(-1, 3, -1, -1)
    torch.testing.assert_close(3 * encoder.stem(gray), resnet.conv1(gray), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_correlation_is_a_softmax_over_modalities_for_each_element():
    torch.manual_seed(0)
    part, hidden = Correlation(3, 4).double(), torch.randn(3, 2, 5, 4, dtype=torch.float64)
    available = torch.tensor([[True, True, True], [False, True, False]])
    found = part(list(hidden), available)
    q, k, v = torch.stack([project(x) for project, x in zip(part.projections, hidden, strict=True)]).split(4, -1)
    for sample, m, cell, channel in itertools.product(range(2), range(3), range(5), range(4)):
        scores = torch.stack([q[m, sample, cell, channel] * k[n, sample, cell, channel] / 3**0.5 for n in range(3)])
        # Missing modalities give keys and values too.
        expected = (scores.exp() / scores.exp().sum() * v[:, sample, cell, channel]).sum() * available[sample, m]
        torch.testing.assert_close(found[sample, m, cell, channel], expected)
