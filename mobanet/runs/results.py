"""What an evaluation leaves in the run folder: tables, confusion matrices and figures, and what it prints."""

import shutil
from itertools import chain
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.evaluation.host import evaluated
from mobanet.evaluation.results import class_table, result_files, results_of
from mobanet.evaluation.scenario_table import ScenarioResults, scenario_table
from mobanet.figures.calibration import reliability_figure
from mobanet.figures.canvas import write_png
from mobanet.figures.scenarios import scenario_figure
from mobanet.files import write_text


class ResultFiles(Callback):
    """Writes the figures of each validation and of the test, with the protocol they were measured under.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the latest validation."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._write("validation", results_of(trainer, evaluated(pl_module), "validation"), trainer.current_epoch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the test, print its table, and draw its scenarios."""
        if not trainer.is_global_zero:
            return
        results = results_of(trainer, evaluated(pl_module), "test")
        self._write("test", results, trainer.current_epoch)
        if len(results.scores) > 1:
            rank_zero_info(scenario_table(results, shutil.get_terminal_size((120, 24)).columns))
            write_png(scenario_figure(results), self.folder / "test_scenarios.png", dpi=200)
        else:
            rank_zero_info(class_table(results))
        write_png(reliability_figure(results), self.folder / "test_calibration.png", dpi=150)
        rank_zero_info(f"figures and confusion matrices are in {self.folder}")

    def _write(self, stage: str, results: ScenarioResults, epoch: int) -> None:
        texts = result_files(stage, results, epoch)
        confusion = self.folder / "confusion"
        # of an earlier evaluation; first, so that nothing stale lies beside new figures even after an interruption
        several = (self.folder.glob(f"{stage}_{kind}.*") for kind in ("scenarios", "degraded", "boundary", "objects"))
        for path in [*chain(*several), *confusion.glob(f"{stage}_*.csv")]:
            # those that are written again stay until they are replaced in one step
            if path.relative_to(self.folder).as_posix() not in texts:
                path.unlink()
        if confusion.is_dir() and not any(confusion.iterdir()):
            confusion.rmdir()
        for name, text in texts.items():
            write_text(self.folder / name, text)
