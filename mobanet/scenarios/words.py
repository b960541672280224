"""What is said of the scenarios of a run before it begins."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scenario import MOST, Scenario, usual_scenarios


def named(scenarios: Sequence[Scenario]) -> str:
    """Scenarios as `--scenarios.validate` has them: `full`, `all`, or their names."""
    if len(scenarios) == 1 and scenarios[0].full:
        return "full"
    if len(scenarios) == 2 ** len(scenarios[0].available) - 1:
        return "all"
    return ",".join(scenario.name for scenario in scenarios)


def never_drawn(state: Mapping[str, Tensor], modalities: Sequence[str]) -> frozenset[str]:
    """Names of the usual scenarios that no training sample saw in the epoch a checkpoint is of.

    Probabilities of scenarios are part of every checkpoint. Of a model trained on the full scenario alone those of all
    others are 0; so they are after a warm-up that the checkpoint was written in. With parts of their own for incomplete
    samples, the full scenario was the warm-up's, and is 0 behind it: what sees it has stayed as it was then.

    Args:
        state: the checkpoint's `state_dict`; one of an earlier version, which has no probabilities, names none.
        modalities: of the data, in order.
    """
    drawn, scenarios = state.get("scenario_probabilities"), usual_scenarios(modalities)
    if not isinstance(drawn, torch.Tensor) or drawn.shape != (len(scenarios),):
        return frozenset()
    # by names, as a state dict is all that is given here
    apart = any(name.startswith("network.incomplete.") for name in state)
    return frozenset(
        one.name for one, p in zip(scenarios, drawn.tolist(), strict=True) if not p and not (one.full and apart)
    )


def never_drawn_words(
    names: Iterable[str], never: frozenset[str], modalities: Sequence[str], adapted: Collection[str] = ()
) -> str | None:
    """What to say of a model that meets scenarios it was not trained in; None where it meets none.

    Args:
        names: of the scenarios it meets.
        never: of `never_drawn`.
        modalities: of the data, in order.
        adapted: those that it has batch statistics of, taken after training (mobanet.adapt).
    """
    met = [name for name in names if name in never]
    if not met:
        return None
    alone = len(never) == len(usual_scenarios(modalities)) - 1
    how = "with every sensor there, and never" if alone else "in other scenarios, and not"
    taken, bare = [name for name in met if name in adapted], [name for name in met if name not in adapted]
    if not taken:
        expected = "expect little of it there"
    elif bare:
        expected = f"expect little of it in {_some(bare)}; mobanet.adapt has fitted its normalisation to {_some(taken)}"
    else:
        expected = "mobanet.adapt has fitted its normalisation to that since, which is less than training"
    return (
        f"warning: the model was trained {how} in {_some(met)}: {expected} (trained with "
        "--scenarios.strategy uniform or latent, a model learns to do without a sensor)"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def about_scenarios(
    scenarios: Sequence[Scenario], evaluated: Mapping[str, int], settings: ScenarioSettings, command: str, monitor: str
) -> list[str]:
    """Lines on what is validated and kept where training samples scenarios, and on what of too many is left out.

    Args:
        scenarios: that are sampled, the last the full one.
        evaluated: how many a `validation` and a `test` evaluate.
        settings: of the run.
        command: `fit`, `test`, `scores` or `adapt`.
        monitor: metric by which the best epoch is kept.
    """
    lines = []
    modalities, taken = len(scenarios[-1].available), len(scenarios)
    there, tested = 2**modalities - 1, evaluated["test"]
    if command == "test" and tested > MOST:
        lines.append(f"scenarios   {tested} of {there} are tested, each at the cost of a test")
    elif taken < there:
        lines.append(
            f"scenarios   {taken} of the {there} of {modalities} modalities are taken: single ones, all but one, and "
            "all; --scenarios.evaluate all tests every one"
        )
    validated = evaluated["validation"]
    if command == "fit" and (settings.strategy != "full" or validated > 1):
        count = f"{validated} scenarios are" if validated > 1 else "1 scenario is"
        lines.append(f"validation  {count} evaluated (--scenarios.validate), best.ckpt by {monitor} (--monitor)")
    return lines
