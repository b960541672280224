"""What a run folder says of a checkpoint in it: how it was trained, and the figures of its test."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.checkpoints.content import LARGEST_WINDOW
from mobanet.errors import UserError
from mobanet.models.precision import trained_precision
from mobanet.plain.json_files import read_json
from mobanet.plain.yaml_files import read_yaml
from mobanet.runs.folder import CONFIG_FILE

_SCENARIOS, _SINGLE = "test/test_scenarios.json", "test/test.json"


@dataclass(frozen=True)
class Figures:
    """Of one test.

    Attributes:
        file: where they lie, from the run folder.
        protocol: how they came about, in words.
        scenarios: by name, `oa`, `mean_f1`, `miou` (0..1, None where absent) and `classes`; the last is the fullest.
        summary: `mean`, `worst` and `incomplete`, alike; empty where one scenario was tested.
        older: whether they were there before the checkpoint, so that they cannot be its own.
    """

    file: str
    protocol: dict[str, str]
    scenarios: dict[str, dict[str, Any]]
    summary: dict[str, dict[str, Any] | None]
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
        return size if type(size) is int and 0 < size <= LARGEST_WINDOW else None


def run_facts(path: Path, checkpoint: Mapping[str, Any]) -> RunFacts:
    """Collect what lies around a checkpoint.

    Args:
        path: of the checkpoint; its run is the folder above `checkpoints`.
        checkpoint: its content.

    Raises:
        UserError: when a file of the run is damaged.
    """
    folder = path.absolute().parent.parent
    config = folder / CONFIG_FILE
    inside = path.absolute().parent.name == "checkpoints" and config.is_file()
    settings = _settings(config) if inside else {}
    figures = _figures(folder, path) if inside else None
    epochs, steps = int(checkpoint.get("epoch", 0)) + 1, int(checkpoint.get("global_step", 0))
    return RunFacts(path.name, epochs, steps, settings, figures, trained_precision(checkpoint))


def _settings(config: Path) -> Mapping[str, Any]:
    content = read_yaml(config, "a configuration of a run")
    return content if isinstance(content, Mapping) else {}


def _figures(folder: Path, path: Path) -> Figures | None:
    for name in (_SCENARIOS, _SINGLE):
        file = folder / name
        if not file.is_file():
            continue
        try:
            content = read_json(file)
            several = content["scenarios"] if name == _SCENARIOS else {content["scenario"]: content}
            scenarios = {
                scenario: {key: figures[key] for key in ("oa", "mean_f1", "miou", "classes")}
                for scenario, figures in several.items()
            }
            older = file.stat().st_mtime < path.stat().st_mtime
            return Figures(name, dict(content["protocol"]), scenarios, dict(content.get("summary", {})), older)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{file} cannot be read as figures of a test ({type(error).__name__}); run mobanet.test again, or move "
                "the file away."
            ) from error
    return None
