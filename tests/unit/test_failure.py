import itertools

import pytest

from mobanet.errors import UserError
from mobanet.scenarios.failure import Failure, chosen_failures, usual_failures
from mobanet.scenarios.sampling import ScenarioSettings

NAMES = ("rgb", "ir", "dsm")


def by_hand(rates):
    """Weights over non-empty subsets, from every pattern of failures."""
    found = {}
    for there in itertools.product([False, True], repeat=len(rates)):
        weight = 1.0
        for p, has in zip(rates.values(), there, strict=True):
            weight *= 1 - p if has else p
        found["+".join(name for name, has in zip(rates, there, strict=True) if has)] = weight
    nothing = found.pop("")
    return {name: weight / (1 - nothing) for name, weight in found.items()}


@pytest.mark.parametrize("rates", [(0.1, 0.1, 0.1), (0.01, 0.2, 0.5), (0, 0.3, 1), (0, 0, 0)])
def test_weights_are_the_probabilities_of_scenarios_given_that_anything_is_there(rates):
    rates = dict(zip(NAMES, rates, strict=True))
    found = Failure(rates).weights()
    assert found == pytest.approx(by_hand(rates))
    assert sum(found.values()) == pytest.approx(1)
    assert list(found)[-1] == "rgb+ir+dsm"


@pytest.mark.parametrize(
    ("given", "labels", "metrics"),
    [
        (0.1, ["p = 0.1"], ["expected_miou_at_10_percent"]),
        (0, ["p = 0"], ["expected_miou_at_0_percent"]),
        ([0.05, 0.2], ["p = 0.05", "p = 0.2"], ["expected_miou_at_5_percent", "expected_miou_at_20_percent"]),
        ("0.1,0.025,0.10", ["p = 0.1", "p = 0.025"], ["expected_miou_at_10_percent", "expected_miou_at_2_5_percent"]),
        ("{rgb:0.01,dsm:0.2,ir:0}", ["rgb 0.01, ir 0, dsm 0.2"], ["expected_miou"]),
        ({"dsm": 0.2, "rgb": 0.01, "ir": 0}, ["rgb 0.01, ir 0, dsm 0.2"], ["expected_miou"]),
    ],
)
def test_one_probability_several_or_one_a_sensor_can_be_given(given, labels, metrics):
    found = chosen_failures(given, NAMES)
    assert [failure.label for failure in found] == labels
    assert [failure.metric for failure in found] == metrics
    assert all(list(failure.rates) == [*NAMES] for failure in found)


def test_the_usual_ones_are_what_the_settings_say():
    assert chosen_failures(ScenarioSettings().failure, NAMES) == usual_failures(NAMES)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (1.5, "has 1.5, which is no probability"),
        (float("nan"), "has nan"),
        ("often", "has often"),
        ([0.1, True], "has True"),
        ([], "is empty"),
        (1, "is 1 for every sensor"),
        ({"rgb": 0.1, "ir": 0.1, "dms": 0.1}, "names dms; give one probability for each of rgb, ir, dsm"),
        ({"rgb": 0.1}, "gives none for ir, dsm"),
        ({"rgb": 0.1, "ir": None, "dsm": 0}, "has None"),
    ],
)
def test_what_is_no_probability_is_refused(given, words):
    with pytest.raises(UserError) as caught:
        chosen_failures(given, NAMES)
    assert str(caught.value).startswith(f"--scenarios.failure {words}")
