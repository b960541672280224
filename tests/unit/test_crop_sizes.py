"""One size is enough: windows, strides and a transformer's own size follow from the crop unless they are given."""

import pytest
import yaml
from jsonargparse import Namespace

from mobanet.cli.crop_sizes import follow_crop
from mobanet.data.options import EvaluationSettings
from mobanet.errors import UserError
from mobanet.shipped import experiment_folder, experiment_names


def config(crop=128, options=None, name="vit_tiny_patch16_224", pretrained=False, architecture="mobanet", **evaluation):
    given = {"window": None, "validation_stride": None, "test_stride": None, **evaluation}
    backbone = Namespace(name=name, options=options or {}, pretrained=pretrained, checkpoint=None)
    return Namespace(
        data=Namespace(crop=crop, evaluation=Namespace(**given)),
        model=Namespace(architecture=architecture, backbone=backbone),
    )


def settled(**given):
    checkpoint = given.pop("checkpoint", None)
    settings = config(**given)
    follow_crop(settings, checkpoint)
    evaluation = settings.data.evaluation
    sizes = (evaluation.window, evaluation.validation_stride, evaluation.test_stride)
    return sizes, settings.model.backbone.options


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({"crop": 252}, (252, 252, 126)),
        ({"crop": 121}, (121, 121, 60)),
        ({"crop": 64, "window": 96}, (96, 96, 48)),
        ({"crop": 64, "test_stride": 32, "validation_stride": 16}, (64, 16, 32)),
        ({"crop": 64, "window": 96, "test_stride": 96}, (96, 96, 96)),
    ],
)
def test_windows_and_strides(given, sizes):
    assert settled(**given)[0] == sizes
    crop = given.pop("crop")
    settings = EvaluationSettings(**given)  # the same without a command line
    assert (settings.size(crop), settings.stride("validation", crop), settings.stride("test", crop)) == sizes


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"crop": 128}, {"img_size": 128}),
        ({"crop": 120, "options": {"patch_size": 6, "depth": 4}}, {"patch_size": 6, "depth": 4, "img_size": 120}),
        ({"crop": 100}, {"img_size": 112}),  # padded to whole patches
        ({"options": {"img_size": 64}}, {"img_size": 64}),
        ({"pretrained": True}, {}),  # published weights come with a size
        ({"architecture": "cmx"}, {}),
        ({"options": {"patch_size": "large"}}, {"patch_size": "large"}),
        ({"name": "resnet50"}, {}),
    ],
)
def test_a_transformer_from_nothing(given, options):
    assert settled(**given)[1] == options


@pytest.mark.parametrize("saved", [{"img_size": 224}, {}])
def test_weights_of_a_run_keep_their_size(saved):
    checkpoint = {"hyper_parameters": {"backbone": {"options": saved}}}
    assert settled(crop=128, checkpoint=checkpoint)[1] == saved


@pytest.mark.parametrize("option", ["window", "validation_stride", "test_stride", "batch_size"])
def test_zero_is_not_null(option):
    with pytest.raises(UserError, match=f"--data.evaluation.{option} is 0; give a number of at least"):
        EvaluationSettings(**{option: 0}).check(64)


@pytest.mark.parametrize("name", experiment_names())
def test_no_recipe_fixes_what_follows_from_its_crop(name):
    recipe = yaml.safe_load((experiment_folder() / f"{name}.yaml").read_text())
    crop, fixed = recipe["data"]["crop"], recipe["data"]["evaluation"]
    usual = EvaluationSettings()
    follows = {
        "window": usual.size(crop),
        "validation_stride": usual.stride("validation", crop),
        "test_stride": usual.stride("test", crop),
    }
    assert not {key for key, value in follows.items() if fixed.get(key) == value}
    assert "img_size" not in recipe["model"]["backbone"].get("options", {})
