"""What a run folder says of a checkpoint in it: how it was trained, and the figures of its test."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.checkpoints.content import LARGEST_WINDOW
from mobanet.data.description import DataDescription
from mobanet.evaluation.read_back import read_evaluation
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.models.precision import trained_precision
from mobanet.plain.yaml_files import read_yaml
from mobanet.runs.folder import CONFIG_FILE

# looked for in the order in which `read_evaluation` does, so that the file named is the one read
_SCENARIOS, _SINGLE = "test/test_scenarios.json", "test/test.json"


@dataclass(frozen=True)
class Figures:
    """What one test found, in a file of the run folder; `older` than the checkpoint, it cannot be its own."""

    file: str
    results: ScenarioResults
    older: bool


@dataclass(frozen=True)
class RunFacts:
    """What is known beyond the model itself.

    Attributes:
        checkpoint: name of the file.
        epochs: that had been begun when it was written.
        steps: of the optimiser by then.
        settings: the run's `config.yaml`; empty where the checkpoint lies in no run folder.
        figures: of the run's test; None where there was none.
        precision: that it was trained in; None where it does not say.
    """

    checkpoint: str
    epochs: int
    steps: int
    settings: Mapping[str, Any]
    figures: Figures | None
    precision: str | None = None

    def get(self, *keys: str) -> Any:
        """A setting of the run; None where it is not there."""
        value: Any = self.settings
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def trained_tile(self) -> int | None:
        """Height and width of the evaluation's windows, else of the training crops; None where neither is known."""
        size = self.get("data", "evaluation", "window") or self.get("data", "crop")
        return size if type(size) is int and 0 < size <= LARGEST_WINDOW else None  # True is an int to isinstance


def run_facts(path: Path, checkpoint: Mapping[str, Any], data: DataDescription) -> RunFacts:
    """Collect what lies around a checkpoint: its run is the folder above `checkpoints`."""
    folder = path.absolute().parent.parent
    config = folder / CONFIG_FILE
    # anywhere else a config.yaml may be anybody's
    inside = path.absolute().parent.name == "checkpoints" and config.is_file()
    settings = _settings(config) if inside else {}
    figures = _figures(folder, path, data) if inside else None
    # Lightning counts epochs from 0
    epochs, steps = int(checkpoint.get("epoch", 0)) + 1, int(checkpoint.get("global_step", 0))
    return RunFacts(path.name, epochs, steps, settings, figures, trained_precision(checkpoint))


def _settings(config: Path) -> Mapping[str, Any]:
    content = read_yaml(config, "a configuration of a run")
    return content if isinstance(content, Mapping) else {}


def _figures(folder: Path, path: Path, data: DataDescription) -> Figures | None:
    found = read_evaluation(folder, "test", data)
    if found is None:
        return None
    file = next(folder / name for name in (_SCENARIOS, _SINGLE) if (folder / name).is_file())
    # by their times, since figures do not say of which checkpoint they are
    older = file.stat().st_mtime < path.stat().st_mtime
    return Figures(file.relative_to(folder).as_posix(), found.results, older)
