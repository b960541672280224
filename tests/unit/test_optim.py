import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from mobanet.training.optim import adamw, parameter_groups, warmup_cosine


def rates(warmup, total, min_lr=1e-6, lr=2e-4, steps=50):
    optimizer = adamw([{"params": [nn.Parameter(torch.zeros(1))], "lr": lr, "weight_decay": 0.0}])
    scheduler = warmup_cosine(optimizer, warmup, total, min_lr)
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def test_recipe_rises_over_five_epochs_and_ends_at_the_floor():
    lr = rates(5, 50)
    assert lr[:5] == pytest.approx([4e-5, 8e-5, 1.2e-4, 1.6e-4, 2e-4])
    assert lr[5] == pytest.approx(2e-4)
    middle = 1e-6 + (2e-4 - 1e-6) * 0.5 * (1 + math.cos(math.pi * 20 / 45))
    assert lr[25] == pytest.approx(middle)
    assert all(a >= b for a, b in pairwise(lr[5:]))
    assert rates(5, 50, steps=60)[-1] == pytest.approx(1e-6)


def test_biases_and_one_dimensional_parameters_do_not_decay():
    module = nn.ModuleDict(
        {"backbone": nn.Linear(3, 4), "decoder": nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))}
    )
    module["backbone"].bias.requires_grad_(False)
    groups = parameter_groups(module.named_parameters(), 1e-3, 1e-4, 0.05)
    found = {(g["lr"], g["weight_decay"]): sum(p.numel() for p in g["params"]) for g in groups}
    assert found == {(1e-3, 0.05): 4, (1e-3, 0.0): 6, (1e-4, 0.05): 12}
