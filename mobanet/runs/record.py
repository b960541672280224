"""What a run hands to its loggers beside metrics: settings, protocol, code, sizes, and tables of scenarios."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import Callback, LightningModule, Trainer

from mobanet.data.attached import data_of
from mobanet.evaluation.host import evaluated
from mobanet.evaluation.results import results_of
from mobanet.evaluation.scenario_table import intervals_to_log, scenario_columns, scenario_rows
from mobanet.files import named
from mobanet.models.summary import count_parameters
from mobanet.plain.yaml_files import read_yaml
from mobanet.runs.folder import CONFIG_FILE
from mobanet.runs.provenance import PROVENANCE_FILE, provenance
from mobanet.runs.saved_config import flat
from mobanet.training.handed import segmentation


class RunRecord(Callback):
    """Writes a run's provenance, and gives its settings to the loggers under the names of the options.

    Args:
        folder: of the run.
        experiment: its name.
        words: the command line behind `mobanet.fit`.
    """

    def __init__(self, folder: str | Path, experiment: str, words: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.experiment = experiment
        self.words = list(words)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write all that is known before the first step."""
        if not trainer.is_global_zero:
            return
        made = asdict(provenance(trainer, self.words))
        path = self.folder / PROVENANCE_FILE
        with named(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(made) + "\n")
        # the last is the sum
        *parts, total = count_parameters(segmentation(pl_module).network)
        settings = {
            # out of the file, in which `write_config` has put what `auto` and null came to
            **flat(read_yaml(self.folder / CONFIG_FILE, "the configuration of the run")),
            "experiment": self.experiment,
            **flat({"protocol": data_of(trainer).protocol("validation")}),
            **flat({"provenance": made}),
            "parameters.trained": total.trainable,
            "parameters.frozen": total.frozen,
            **{f"parameters.trained.{part.part}": part.trainable for part in parts if part.trainable},
        }
        for logger in trainer.loggers:
            logger.log_hyperparams(settings)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on the table of scenarios, if several were validated."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        results = results_of(trainer, evaluated(pl_module), "validation")
        for logger in trainer.loggers if len(results.scores) > 1 else ():
            if hasattr(logger, "log_table"):
                # the step that Lightning logs the validation's figures at
                step, rows = max(trainer.global_step - 1, 0), scenario_rows(results)
                logger.log_table("val/scenarios/table", columns=scenario_columns(results), data=rows, step=step)


class TestLogger(Protocol):
    """A logger that a run's test is handed on to."""

    def log_test(self, figures: Mapping[str, float], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add figures, and the table of scenarios, to what was recorded of the run."""


class TestRecord(Callback):
    """Adds a test to what was recorded of its run.

    Args:
        followers: makes the loggers of the run; called when the figures are there.
    """

    __test__ = False  # by its name pytest would take it for a test

    def __init__(self, followers: Callable[[], Sequence[TestLogger]]) -> None:
        self._followers = followers

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on figures and table."""
        if not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        results = results_of(trainer, evaluated(pl_module), "test")
        figures |= {f"test/{name}": value for name, value in intervals_to_log(results).items()}
        if results.regained:
            shares = {name: share for name, share in results.regained.shares.items() if not math.isnan(share)}
            figures |= {f"test/scenarios/{name}/gap_regained": share for name, share in shares.items()}
        rows = scenario_rows(results)
        for logger in self._followers():
            logger.log_test(figures, scenario_columns(results), rows)
