"""What is said of the scenarios of a run before it begins."""

from collections.abc import Sequence

from lightning.pytorch import LightningModule

from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scenario import MOST, Scenario


def named(scenarios: Sequence[Scenario]) -> str:
    """Scenarios as `--scenarios.validate` has them: `full`, `all`, or their names.

    Args:
        scenarios: in the usual order.
    """
    if len(scenarios) == 1 and scenarios[0].full:
        return "full"
    if len(scenarios) == 2 ** len(scenarios[0].available) - 1:
        return "all"
    return ",".join(scenario.name for scenario in scenarios)


def about_scenarios(module: LightningModule, settings: ScenarioSettings, command: str, monitor: str) -> list[str]:
    """Lines on what is validated and kept where training samples scenarios, and on what of too many is left out.

    Args:
        module: with `scenarios` and `evaluations`.
        settings: of the run.
        command: `fit`, `test` or `scores`.
        monitor: metric by which the best epoch is kept.
    """
    lines = []
    modalities, taken = len(module.scenarios[-1].available), len(module.scenarios)
    there, tested = 2**modalities - 1, len(module.evaluations["test"].scenarios)
    if command == "test" and tested > MOST:
        lines.append(f"scenarios   {tested} of {there} are tested, each at the cost of a test")
    elif taken < there:
        lines.append(
            f"scenarios   {taken} of the {there} of {modalities} modalities are taken: single ones, all but one, and "
            "all; --scenarios.evaluate all tests every one"
        )
    validated = len(module.evaluations["validation"].scenarios)
    if command == "fit" and (settings.strategy != "full" or validated > 1):
        count = f"{validated} scenarios are" if validated > 1 else "1 scenario is"
        lines.append(f"validation  {count} evaluated (--scenarios.validate), best.ckpt by {monitor} (--monitor)")
    return lines
