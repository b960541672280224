"""TensorBoard instead of Weights & Biases, by one option."""

import sys

import pytest

pytest.importorskip("tensorboard")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"tensors": 0, "images": 0, "scalars": 0})
    return events.Reload()


@pytest.fixture(scope="module")
def followed(small, tmp_path_factory):
    """A run of two epochs, gone on with for a third and tested."""
    from mobanet.cli.commands import main

    run = tmp_path_factory.mktemp("followed") / "run"
    words = [
        "--panels.every_n_epochs",
        "10",
        "--scenarios.strategy",
        "latent",
        "--scenarios.num_windows",
        "8",
        "--scenarios.validate",
        "all",
    ]
    main("fit", ["--experiment", str(small), "--run", str(run), "--logger", "tensorboard", *words])
    main("fit", ["--ckpt_path", str(run / "checkpoints/last.ckpt"), "--trainer.max_epochs", "3"])
    main("test", ["--ckpt_path", str(run / "checkpoints/best.ckpt"), "--degrade", "scale"])
    return run


def test_curves_go_on_behind_those_of_the_past(followed):
    events = read(followed / "tensorboard")
    assert [point.step for point in events.Scalars("train/loss")] == [0, 1, 2, 3, 4, 5]
    assert [point.step for point in events.Scalars("val/miou")] == [1, 3, 5]
    assert [point.step for point in events.Scalars("scenarios/probability/rgb+dsm")] == [1, 3, 5]
    assert [point.step for point in events.Scalars("test/miou")] == [5]
    assert [point.step for point in events.Scalars("test/degraded/dsm/scale/1.5/miou")] == [5]
    assert not (followed / "wandb").exists()


def test_tables_settings_and_pictures_are_there(followed):
    events = read(followed / "tensorboard")
    tags = events.Tags()
    names = ("settings", "scenarios/table", "val/scenarios/table", "test/scenarios/table")
    assert {f"{name}/text_summary" for name in names} == set(tags["tensors"])
    settings = events.Tensors("settings/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "| scenarios.strategy | latent |" in settings
    assert "| trainer.max_epochs | 3 |" in settings
    tested = events.Tensors("test/scenarios/table/text_summary")[0].tensor_proto.string_val[0].decode()
    heads = ["scenario", "OA", "mean F1", "mIoU", "drop", "mIoU low", "mIoU high", "FW IoU", "ECE", "ECE at T"]
    assert tested.startswith(f"| {' | '.join(heads)} |\n")
    assert "| rgb+ir+dsm | " in tested
    assert len(tags["images"]) == 2
    for tag in tags["images"]:
        assert tag.startswith("panels/tile ")
        assert events.Images(tag)[-1].encoded_image_string.startswith(b"\x89PNG")


def test_without_tensorboard_there_is_one_sentence(fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    sentence = fit("--logger", "tensorboard").sentence()
    assert sentence == "--logger tensorboard needs TensorBoard; install it with pip install 'mobanet[tensorboard]'."


def test_csv_alone(fit, tmp_path):
    assert fit("--logger", "csv", "--wandb", "offline", "--trainer.max_steps", "1").code == 0
    assert (tmp_path / "run/metrics.csv").is_file()
    assert not (tmp_path / "run/wandb").exists()
    assert not (tmp_path / "run/tensorboard").exists()
