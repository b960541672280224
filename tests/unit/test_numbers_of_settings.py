"""Numbers of settings: none may be NaN or infinite, which training would take and fail of much later."""

import math
from dataclasses import fields

import pytest

from mobanet.errors import UserError
from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.lora import LoRASettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.scenarios.masking import MaskingSettings
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.training.class_weights import initial_weights
from mobanet.training.optim import ScheduleSettings

KINDS = (CBCSettings, CMXSettings, LoRASettings, MoBaNetSettings, MaskingSettings, ScheduleSettings, ScenarioSettings)
NUMBERS = [
    (kind, field.name)
    for kind in KINDS
    for field in fields(kind)
    if "float" in str(field.type) and "list" not in str(field.type)
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_no_setting_is_nan_or_infinite(kind, name):
    for number in (math.nan, math.inf, -math.inf):
        with pytest.raises(UserError, match=name.rpartition("_")[2]):
            kind(**{name: number})


@pytest.mark.parametrize("weights", [[1.0, math.nan], [math.nan, 1.0], [1.0, math.inf]])
def test_no_class_weight_is(weights):
    with pytest.raises(UserError, match="class_weights is"):
        initial_weights(weights, ["a", "b"])


def test_a_cosine_ends_at_no_rate_below_0():
    with pytest.raises(UserError, match=r"schedule.min_lr is -1e-06; give 0 or more"):
        ScheduleSettings(min_lr=-1e-6)
