"""Optimisers and schedules by their import path: parameter groups, warm-up and resuming as with the package's own."""

import pytest
import yaml

from mobanet.checkpoints.checkpoint import check_same_code
from mobanet.cli.commands import main
from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from tests.cli.test_fit_and_test import differing, rows

SGD = "{class_path: torch.optim.SGD, init_args: {momentum: 0.9}}"
SCHEDULE = "torch.optim.lr_scheduler.ExponentialLR"
HALVES = ("--model.schedule.shape", SCHEDULE, "--model.schedule.init_args.gamma", "0.5")
OWN = ("--model.optimizer", SGD, *HALVES, "--model.schedule.every", "step", "--model.lr", "0.01")


def test_an_optimiser_and_a_schedule_by_import_path_train_and_resume(fit, command, tmp_path):
    words = (*OWN, "--model.weight_decay", "0.03", "--model.schedule.warmup_epochs", "0.6")
    whole = fit(*words)
    assert whole.code == 0, whole.err
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]
    assert config["optimizer"] == {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}
    last = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert last["hyper_parameters"]["optimizer"] == config["optimizer"]
    (state,) = last["optimizer_states"]
    groups = {group["name"]: group for group in state["param_groups"]}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "backbone": 0.03,
        "backbone_no_decay": 0.0,
        "head": 0.03,
        "head_no_decay": 0.0,
    }
    assert {group["momentum"] for group in groups.values()} == {0.9}
    # two steps of warm-up, the second to 2 / 1.2 of it and so all; then two steps of the schedule, halved each
    assert [group["lr"] for group in groups.values()] == pytest.approx([0.01 / 4] * 4)
    assert float(rows(tmp_path / "run/metrics.csv")[-1]["train/lr"]) == pytest.approx(0.01)

    assert fit(*words, "--trainer.max_epochs", "1", "--run", str(tmp_path / "half")).code == 0
    path = tmp_path / "half/checkpoints/last.ckpt"
    more = ["--ckpt_path", str(path), "--trainer.max_epochs", "2", "--wandb", "off"]
    refused = command(main, "fit", [*more, "--model.optimizer", "adamw"])
    assert refused.code == 2
    assert "error: --model.optimizer is adamw here and torch.optim.SGD in the checkpoint, whose state" in refused.err
    refused = command(main, "fit", [*more, "--model.schedule.shape", "cosine", "--model.schedule.init_args", "{}"])
    assert refused.code == 2
    assert "schedule.shape is cosine here and torch.optim.lr_scheduler.ExponentialLR in" in refused.err
    refused = command(main, "fit", [*more, "--model.lr", "0.02"])
    assert refused.code == 2
    assert "error: --model.lr is 0.02 here and 0.01 in the checkpoint, with which the schedule torch.opt" in refused.err
    resumed = command(main, "fit", more)
    assert resumed.code == 0, resumed.err
    assert "config.yaml brings torch.optim.SGD, torch.optim.lr_scheduler.ExponentialLR" in resumed.err
    assert differing(tmp_path / "run/checkpoints/last.ckpt", path) == []
    assert command(main, "test", ["--ckpt_path", str(path)]).code == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 0.1},
        {"backbone_lr": 0.1},
        {"schedule": {"shape": SCHEDULE, "init_args": {"gamma": 0.9}, "warmup_epochs": 1.0}},
        {"schedule": {"shape": SCHEDULE, "init_args": {"gamma": 0.5}, "warmup_epochs": 2.0}},
    ],
)
def test_a_schedule_by_import_path_goes_on_with_what_it_began_with(changed):
    saved = {"lr": 0.01, "backbone_lr": None, "optimizer": "adamw"}
    saved["schedule"] = {"shape": SCHEDULE, "init_args": {"gamma": 0.5}, "warmup_epochs": 1.0}
    check_same_code(saved, {**saved, "weight_decay": 0.1})
    with pytest.raises(UserError, match=r"here and .* in the checkpoint, with which the schedule .*: resume with the"):
        check_same_code(saved, {**saved, **changed})
    ours = {**saved, "schedule": {"shape": "cosine", "init_args": {}, "warmup_epochs": 1.0}}
    check_same_code(ours, {**ours, "lr": 0.1})


MISTAKES = {
    "unknown": (("sgd",), "--model.optimizer is sgd; choose one of adamw, adam, or give the import path"),
    "no class of that name": (("torch.optim.SGDD",), "torch.optim has no SGDD (did you mean SGD?)"),
    "no optimiser": (("torch.nn.Linear",), "--model.optimizer names torch.nn.Linear, which is no optimiser; give a"),
    "a rate twice": (("{class_path: torch.optim.SGD, init_args: {lr: 1}}",), "sets lr among its init_args; leave it"),
    "arguments of ours": (("{class_path: adamw, init_args: {eps: 1}}",), "is adamw, which takes no init_args"),
    "fused": (("torch.optim.SGD", "--model.fused", "true"), "--model.fused true is for adamw and adam, and"),
    "no schedule": (("adamw", "--model.schedule.shape", "linear"), "shape is linear; choose one of cosine, steps, or"),
    "of a metric": (
        ("adamw", "--model.schedule.shape", "torch.optim.lr_scheduler.ReduceLROnPlateau"),
        "which waits for a metric",
    ),
    "arguments of a cosine": (("adamw", "--model.schedule.init_args.gamma", "2"), "leave them out"),
    "other arguments": (("{class_path: torch.optim.SGD, init_args: {beta: 1}}",), "cannot be made of {'beta': 1}"),
    "no weight decay": (("torch.optim.Rprop",), "torch.optim.Rprop, which knows no weight_decay: set"),
    "a schedule of two stages": (
        (
            *("adamw", *HALVES, "--scenarios.strategy", "uniform"),
            *("--scenarios.full_share", "0", "--scenarios.warmup_epochs", "1", "--model.network.incomplete", "own"),
        ),
        "ExponentialLR, which cannot begin anew where parts for incomplete samples go on alone",
    ),
    "a schedule's arguments": (("adamw", *HALVES[:2]), "ExponentialLR, which cannot be made of {} (TypeError"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_no_optimiser_and_no_schedule(case, fit):
    words, said = MISTAKES[case]
    assert said in fit("--model.optimizer", *words).sentence()
