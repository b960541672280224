import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from mobanet.errors import SettingError, UserError
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.training.groups import check_backbone_lr, learning_rates, undecayed_parameters
from mobanet.training.optim import ScheduleSettings, build_optimizer, parameter_groups, scheduled, warmup_cosine


def rates(warmup, total, min_lr=1e-6, lr=2e-4, steps=50):
    optimizer = build_optimizer("adamw", [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr, "weight_decay": 0.0}])
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


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3_qkvb"])
def test_positions_and_prefix_tokens_of_a_trained_backbone_do_not_decay(name):
    size = {"depth": 4, "embed_dim": 24, "num_heads": 2}
    network = nn.ModuleDict({"backbone": build_backbone(BackboneSettings(name, False, None, False, options=size))})
    groups = parameter_groups(network.named_parameters(), 1.0, 1.0, 0.05, undecayed_parameters(network))
    still = {id(parameter) for group in groups if not group["weight_decay"] for parameter in group["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in still}
    tokens = {name for name, _ in network.named_parameters() if name.endswith(("cls_token", "reg_token", "pos_embed"))}
    assert tokens
    assert tokens <= names
    assert not [name for name in names - tokens if dict(network.named_parameters())[name].ndim > 1]


def test_each_group_logs_its_rate_under_a_name_that_stays():
    module = nn.ModuleDict({"encoders": nn.Linear(3, 4), "decoder": nn.Linear(3, 4)})
    optimizer = build_optimizer("adamw", parameter_groups(module.named_parameters(), 1e-3, 1e-4, 0.05))
    assert [group["name"] for group in optimizer.param_groups] == [
        "head_no_decay",
        "head",
        "backbone_no_decay",
        "backbone",
    ]
    assert learning_rates(optimizer.param_groups) == {"lr": 1e-3, "lr_backbone": 1e-4}
    only = parameter_groups(module["encoders"].named_parameters("encoders"), 1e-3, 1e-4, 0.05)
    assert [group["name"] for group in only] == ["backbone_no_decay", "backbone"]
    assert learning_rates(only) == {"lr": 1e-4, "lr_backbone": 1e-4}
    foreign = torch.optim.SGD([{"params": [p], "lr": k} for k, p in enumerate(module.parameters(), 1)])
    assert learning_rates(foreign.param_groups) == {"lr_0": 1, "lr_1": 2, "lr_2": 3, "lr_3": 4, "lr": 4}


def test_a_rate_of_a_backbone_that_is_not_trained_is_refused():
    module = nn.ModuleDict({"backbone": nn.Linear(3, 4).requires_grad_(False), "decoder": nn.Linear(3, 4)})
    groups = parameter_groups(module.named_parameters(), 1e-3, 1e-4, 0.05)
    check_backbone_lr(None, groups)
    with pytest.raises(UserError, match=r"backbone_lr is 0.0001, .* `backbone.freeze` false"):
        check_backbone_lr(1e-4, groups)


def moved(optimizer, scheduler, steps):
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def test_steps_are_those_of_torch_and_of_the_scenario_paper():
    group = {"params": [nn.Parameter(torch.zeros(1))], "lr": 1e-4, "weight_decay": 0.0}
    ours, theirs = build_optimizer("adam", [dict(group)]), torch.optim.Adam([dict(group)])
    settings = ScheduleSettings("steps", warmup_epochs=0)
    rates = moved(ours, scheduled(ours, settings, 0, 70, 1.0), 70)
    assert rates == pytest.approx(moved(theirs, torch.optim.lr_scheduler.StepLR(theirs, 5, 0.9), 70), rel=1e-12)
    assert rates[:11] == pytest.approx([1e-4] * 5 + [0.9e-4] * 5 + [0.81e-4])
    assert rates[-1] == pytest.approx(1e-4 * 0.9**13)


@pytest.mark.parametrize("per_epoch", [1.0, 3.0, 10 / 3])
def test_steps_begin_behind_the_warmup_wherever_the_schedule_moves(per_epoch):
    optimizer = build_optimizer("adam", [{"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0}])
    scheduler = scheduled(optimizer, ScheduleSettings("steps", factor=0.5), 2 * per_epoch, 0, per_epoch)
    rates = moved(optimizer, scheduler, 41)
    assert rates[0] == pytest.approx(1 / (2 * per_epoch))
    for epoch, rate in ((2, 1.0), (6.9, 1.0), (7, 0.5), (11.9, 0.5), (12, 0.25)):
        step = math.ceil(epoch * per_epoch - 1e-9) if epoch % 1 == 0 else math.floor(epoch * per_epoch)
        assert rates[step] == pytest.approx(rate), epoch


@pytest.mark.parametrize("settings", [ScheduleSettings(), ScheduleSettings("steps", step_epochs=10, factor=0.5)])
def test_each_of_two_stages_has_the_whole_schedule_in_its_own_length(settings):
    """Of 50 epochs with a rise of 5, a stage of 40 rises in 4, and one of 10 in a single one."""

    def rates_of(turn, steps):
        optimizer = build_optimizer(
            "adam", [{"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0}, {"params": [], "lr": 0.5}]
        )
        scheduler = scheduled(optimizer, settings, 5, 50, 1.0, turn)
        found = moved(optimizer, scheduler, steps)
        assert optimizer.param_groups[1]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"] / 2, abs=1e-6)
        return found

    one, two = rates_of(None, 50), rates_of(40, 55)
    assert two[0] == one[0]
    for step in range(0, 40, 4):  # those that both have
        assert two[step] == pytest.approx(one[step * 5 // 4])
    assert two[40:50] == pytest.approx(one[::5])
    assert two[40] < two[41] == 1
    if settings.shape == "cosine":
        assert two[50:] == pytest.approx([1e-6] * 5)


def test_adam_makes_the_first_steps_that_its_formula_says():
    parameter = nn.Parameter(torch.tensor([2.0]))
    optimizer = build_optimizer("adam", [{"params": [parameter], "lr": 0.1, "weight_decay": 0.5}])
    x, m, v = 2.0, 0.0, 0.0
    for t in (1, 2, 3):
        parameter.grad = torch.tensor([0.3 * t])
        optimizer.step()
        g = 0.3 * t + 0.5 * x  # decay is part of the gradient
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert parameter.item() == pytest.approx(x, rel=1e-5)


@pytest.mark.parametrize("wrong", [{"shape": "linear"}, {"step_epochs": 0}, {"factor": 0}, {"factor": 1.5}])
def test_schedules_that_make_no_sense_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(SettingError) as refused:
        ScheduleSettings(**wrong)
    assert refused.value.told().startswith(f"--model.schedule.{name} is {value}; ")
