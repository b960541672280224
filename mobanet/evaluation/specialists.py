"""How much of what a missing sensor costs is won back, measured by models that were trained for one scenario alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.errors import UserError
from mobanet.evaluation.metrics import Scores, nan_if_none
from mobanet.plain.json_files import read_json
from mobanet.rasters.contents import Classes
from mobanet.scenarios.scenario import chosen_scenarios, typed_pairs

OPTION = "--scenarios.specialists"
_FULL = "full"
# in a run or its test folder; the file of several scenarios has all that the other one has
_FILES = ("test/test_scenarios.json", "test/test.json", "test_scenarios.json", "test.json")


@dataclass(frozen=True)
class OtherTest:
    """The test of another model.

    Attributes:
        name: that the user gave it: `full`, or a scenario.
        path: of its file.
        protocol: how its figures came about.
        mious: by scenario, 0..1; NaN where absent.
        pixels: of the truth, one a class.
    """

    name: str
    path: Path
    protocol: Mapping[str, str]
    mious: Mapping[str, float]
    pixels: tuple[int, ...]


@dataclass(frozen=True)
class Regained:
    """Shares of the gap between a model trained on the full scenario and specialists.

    Attributes:
        shares: by scenario that has a specialist, 1 for as good as that; NaN where the specialist is no better than the
            model trained on the full scenario, so that there is no gap.
        incomplete: of the gaps of all incomplete scenarios together; NaN unless each has a specialist.
    """

    shares: Mapping[str, float]
    incomplete: float


@dataclass(frozen=True)
class Specialists:
    """Tests to compare one with.

    Attributes:
        full: of a model that was trained with all sensors there, in every scenario that has a specialist.
        own: of the specialists, by scenario.
    """

    full: OtherTest
    own: Mapping[str, OtherTest]

    def check(self, protocol: Mapping[str, str]) -> None:
        """Refuse figures that cannot be compared with a test of this protocol.

        Raises:
            UserError: for one that came about otherwise.
        """
        for other in (self.full, *self.own.values()):
            for key in sorted({*protocol, *other.protocol}):
                here, there = protocol.get(key), other.protocol.get(key)
                # protocols are compared word by word: other windows or labels make figures that are no match
                if here != there:
                    raise UserError(
                        f"{OPTION} {other.name}: {other.path} was measured with {key}: {there}, and this test is with "
                        f"{key}: {here}; test that model again in the same way, or leave it out."
                    )

    def unlike(self, pixels: Sequence[int]) -> list[str]:
        """Names of those that were tested on other pixels, by their number of each class in the truth."""
        return [other.name for other in (self.full, *self.own.values()) if other.pixels != tuple(pixels)]

    def regained(self, scores: Mapping[str, Scores], full: str) -> Regained:
        """What the model of a test, with scores by scenario, has won back."""
        named = [name for name in scores if name in self.own]
        won = {name: scores[name].mean_iou - self.full.mious[name] for name in named}
        gaps = {name: self.own[name].mious[name] - self.full.mious[name] for name in named}
        incomplete = [name for name in scores if name != full]
        whole = bool(incomplete) and all(name in named for name in incomplete)
        return Regained(
            shares={name: _share(won[name], gaps[name]) for name in named},
            # of the sums: a mean of shares would be ruled by scenarios with hardly any gap
            incomplete=_share(*(sum(x[name] for name in incomplete) for x in (won, gaps))) if whole else math.nan,
        )


def _share(won: float, gap: float) -> float:
    return won / gap if gap > 0 else math.nan  # a share of a gap below 0 would have the wrong sign


def read_specialists(given: Mapping[str, str] | str, modalities: Sequence[str], classes: Classes) -> Specialists:
    """The tests that a user names.

    Args:
        given: files that `mobanet.test` wrote, or run folders with one, by scenario; `full` is the model that was
            trained with all sensors there.
        modalities: of the data, in order.
        classes: of the data.

    Raises:
        UserError: for a scenario that there is not, a file that is none or of other classes, or figures it lacks.
    """
    given = typed_pairs(given) if isinstance(given, str) else given
    named = {name: path for name, path in given.items() if name != _FULL}
    if _FULL not in given or not named:
        lacks = f"no test of a specialist, such as {modalities[0]}: FILE" if _FULL in given else "no full: FILE"
        raise UserError(
            f"{OPTION} has {lacks}; give a test of a model trained with all sensors there under full, and one of a "
            "model trained for it alone under each scenario."
        )
    wanted = {name: chosen_scenarios([name], modalities, OPTION) for name in named}
    own = {found.name: _read(name, named[name], classes, [found.name]) for name, (found,) in wanted.items()}
    return Specialists(_read(_FULL, given[_FULL], classes, list(own)), own)


def _read(name: str, given: str, classes: Classes, scenarios: Sequence[str]) -> OtherTest:
    path, what = Path(given), f"{OPTION} {name}: {given}"
    if path.is_dir():
        path = next((path / file for file in _FILES if (path / file).is_file()), path)
    if not path.is_file():
        raise UserError(f"{what} has no test in it; give a run folder that mobanet.test has tested, or its JSON file.")
    try:
        content = read_json(path)
        # a test of a single scenario has its figures at the top of the file
        found: Mapping[str, Any] = content.get("scenarios") or {content["scenario"]: content}
        # any scenario's: classes and pixels are of the truth, which is the same in all
        some = next(iter(found.values()))["classes"]
        mious = {scenario: nan_if_none(figures["miou"]) for scenario, figures in found.items()}
        pixels = tuple(int(figures["pixels"]) for figures in some.values())
        other = OtherTest(name, path, dict(content["protocol"]), mious, pixels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(
            f"{what} is no test ({type(error).__name__}); give a JSON file that mobanet.test wrote."
        ) from error
    if list(some) != list(classes.names):
        raise UserError(
            f"{what} is of the classes {', '.join(map(str, some))}, not of {', '.join(classes.names)}; give a test of "
            "the same data."
        )
    lacking = [scenario for scenario in scenarios if scenario not in mious]
    if lacking:
        raise UserError(
            f"{what} was not tested with {', '.join(lacking)}; test that model with --scenarios.evaluate all."
        )
    return other
