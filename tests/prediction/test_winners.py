import time

import pytest
import torch

from mobanet.stitching.winners import winners

KINDS = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_of_equal_values_the_first_wins_as_with_argmax(kind, dim):
    random = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 3, (7, 9, 40, 50), generator=random).to(kind)
    logits[3, 2, 5:9], logits[5, 4, 5:9] = float("inf"), float("inf")
    logits[:, :, 11], logits[2, 1, 20], logits[4, 3, 20] = -float("inf"), float("nan"), float("nan")
    assert torch.equal(winners(logits, dim), logits.argmax(dim))
    # and as numpy, which promises the first
    assert torch.equal(winners(logits, dim), torch.from_numpy(logits.float().numpy().argmax(dim)))


@pytest.mark.parametrize("view", [lambda x: x[:, 3:40], lambda x: x.transpose(1, 2), lambda x: x[:, :, ::3]])
def test_of_parts_of_a_larger_tensor(view):
    logits = torch.randint(0, 3, (6, 64, 64), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(winners(view(logits)), view(logits).argmax(0))


def test_it_is_faster_than_argmax():
    logits, taken = torch.randn(6, 512, 512), {}
    for find in (winners, lambda x: x.argmax(0)) * 3:
        begin = time.perf_counter()
        find(logits)
        taken[find] = min(taken.get(find, 9.0), time.perf_counter() - begin)
    fast, slow = taken.values()
    assert fast < slow / 2
