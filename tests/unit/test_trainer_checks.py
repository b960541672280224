"""Settings of the trainer that nothing would come of are answered before training."""

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

from mobanet.checkpoints.best_and_last import run_checkpoints
from mobanet.cli.monitored import check_monitors, training_names, validation_names
from mobanet.cli.trainer_checks import (
    as_list,
    check_overfit,
    check_strategy,
    check_test_follows,
    check_trains,
    shows_progress,
)
from mobanet.errors import UserError
from mobanet.runs.folder import TEST_VARIABLE
from mobanet.scenarios.sampling import ScenarioSettings

FULL, LATENT = ScenarioSettings(), ScenarioSettings(strategy="latent", num_windows=4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_epochs": 0}, "--trainer.max_epochs is 0, so that nothing"),
        ({"max_steps": 0}, "--trainer.max_steps is 0, so that nothing"),
        ({"limit_train_batches": 0}, "--trainer.limit_train_batches is 0, so that nothing"),
        ({"limit_train_batches": 0.1}, "--trainer.limit_train_batches is 0.1, so that nothing"),
    ],
)
def test_a_run_that_would_train_nothing_is_refused(options, words, make_trainer):
    with pytest.raises(UserError, match=words):
        check_trains(make_trainer(**options), steps=3)


def test_no_batch_comes_twice():
    for batches in (1, 0.5):
        with pytest.raises(UserError, match=rf"--trainer.overfit_batches is {batches}, .* leave it out"):
            check_overfit(batches)
    for nothing in (None, 0, 0.0):
        check_overfit(nothing)


def test_a_run_that_trains_is_left_alone(make_trainer):
    for options in ({}, {"limit_train_batches": 0.5}, {"max_epochs": -1}, {"fast_dev_run": True}, {"max_steps": 5}):
        check_trains(make_trainer(**options), steps=3)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_2", FSDPStrategy()])
def test_latent_sampling_wants_the_whole_network_on_every_device(strategy):
    with pytest.raises(UserError, match=r"--scenarios.strategy latent .* --trainer.strategy \w*(fsdp|FSDP|deepspeed)"):
        check_strategy(strategy, LATENT)
    check_strategy(strategy, FULL)
    for other in ("auto", "ddp", "ddp_spawn", "no_such", DDPStrategy()):
        check_strategy(other, LATENT)


def test_what_will_be_logged_is_what_is_logged(make_data, make_module, make_trainer):
    from mobanet.scenarios.callback import ScenarioSampling

    data = make_data()
    module, trainer = (
        make_module(data, backbone_lr=1e-5),
        make_trainer(max_epochs=1, callbacks=[ScenarioSampling(LATENT)]),
    )
    module.evaluate_on(validation="rgb,full", test="all")
    trainer.fit(module, datamodule=data)
    assert {*training_names(module, LATENT), *validation_names(module)} == set(trainer.callback_metrics)


def test_callbacks_watch_what_is_logged(make_data, make_module, make_trainer):
    module = make_module(make_data())

    def check(*callbacks, monitor="val/miou", **options):
        check_monitors(make_trainer(callbacks=list(callbacks), **options), module, FULL, monitor)

    check(EarlyStopping("val/loss"), EarlyStopping("train/loss"))
    check(EarlyStopping("lr-AdamW/head"), LearningRateMonitor())
    with pytest.raises(
        UserError, match=r"has EarlyStopping watch val/miuo, which is not logged \(did you mean val/miou\?"
    ):
        check(EarlyStopping("val/miuo"))
    with pytest.raises(UserError, match=r"choose from train/loss, .*val/iou_building"):
        check(ModelCheckpoint(monitor="loss"), enable_checkpointing=True)
    with pytest.raises(UserError, match=r"--monitor val/foo is not logged"):
        check(monitor="val/foo")
    with pytest.raises(UserError, match=r"watch val/loss, which --trainer.limit_val_batches 0 leaves out"):
        check(EarlyStopping("val/loss"), limit_val_batches=0)
    with pytest.raises(UserError, match=r"watch scenarios/probability/rgb, which is not logged"):
        check(EarlyStopping("scenarios/probability/rgb"))


def test_a_callback_from_elsewhere_may_log_what_it_likes(make_data, make_module, make_trainer):
    class Own(Callback):
        pass

    trainer = make_trainer(callbacks=[Own(), EarlyStopping("my/figure")])
    check_monitors(trainer, make_module(make_data()), FULL, "val/miou")


@pytest.mark.parametrize(
    ("options", "checkpointing", "words"),
    [
        ({"limit_val_batches": 0}, True, "--trainer.limit_val_batches 0 leaves out"),
        ({}, False, "--trainer.enable_checkpointing false leaves out"),
    ],
)
def test_a_test_without_a_best_checkpoint_is_refused(options, checkpointing, words, make_trainer, monkeypatch):
    trainer = make_trainer(**options)
    check_test_follows(trainer, checkpointing, "val/miou")
    monkeypatch.setenv(TEST_VARIABLE, "1")
    with pytest.raises(UserError, match=f"--test needs the run's best.ckpt, which {words}"):
        check_test_follows(trainer, checkpointing, "val/miou")
    check_test_follows(make_trainer(), True, "val/miou")
    check_test_follows(make_trainer(limit_val_batches=0), True, "train/loss")


def test_callbacks_come_singly_or_as_a_list_beside_ours(make_trainer, tmp_path):
    stop = EarlyStopping("val/miou")
    assert as_list(None) == []
    assert as_list(stop) == as_list([stop]) == as_list((stop,)) == [stop]
    assert shows_progress([stop, RichProgressBar()])
    assert not shows_progress([stop])
    theirs = [ModelCheckpoint(monitor="val/miou", mode="max"), ModelCheckpoint(save_on_train_epoch_end=True)]
    ours = run_checkpoints(tmp_path, "val/miou", "max")
    make_trainer(callbacks=[*theirs, *ours], enable_checkpointing=True)  # which refuses two of the same key
    assert [each.filename for each in run_checkpoints(tmp_path, None, "max")] == ["last"]
