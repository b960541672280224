"""A finished run opened again, to look at: for notebooks and scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from mobanet.checkpoints.data_state import DATA_STATE
from mobanet.checkpoints.frozen import BACKBONE_OPTION
from mobanet.data.datamodule import RasterDataModule
from mobanet.errors import UserError
from mobanet.evaluation.window_maps import WindowMaps, predict_window
from mobanet.figures.scores import plot_history, plot_scores, plot_sensitivity
from mobanet.figures.windows import varied_windows, window_figure
from mobanet.loading.module import load_module
from mobanet.plain.json_files import read_json
from mobanet.plain.yaml_files import read_yaml
from mobanet.rasters.contents import Classes, Modality
from mobanet.runs.data import open_data
from mobanet.runs.folder import CONFIG_FILE
from mobanet.runs.found import found_configuration
from mobanet.runs.messages import quieten
from mobanet.scenarios.callback import HISTORY_FILE
from mobanet.scenarios.history import ScoreRecord, read_history, read_scores
from mobanet.scenarios.scenario import Scenario
from mobanet.scenarios.scores import ScoreSettings
from mobanet.training.module import SegmentationModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES_FILE = "scenario_scores.json"
"""What mobanet.scores writes into a run's folder."""


@dataclass(frozen=True)
class Run:
    """A run folder with its model.

    Attributes:
        folder: of the run.
        module: with the checkpoint's weights, in eval mode on the CPU.
        data: with its test tiles at hand.
        history: of the scenario scores, one record a refresh; empty where the strategy was not `latent`.
        tested: content of `test/test_scenarios.json`; None where the run was not tested in several scenarios.
    """

    folder: Path
    module: SegmentationModule
    data: RasterDataModule
    history: list[ScoreRecord]
    tested: dict[str, Any] | None

    def predict(self, window: int, scenarios: Sequence[Scenario] | None = None) -> WindowMaps:
        """Predict one window of the test tiles in each scenario.

        Args:
            window: its number, as in `data.windows("test")`.
            scenarios: all by default.
        """
        sample = self.data.windows("test")[window]
        scenarios = self.module.scenarios if scenarios is None else scenarios
        return predict_window(self.module, sample, scenarios, lambda raw: self.module.on_after_batch_transfer(raw, 0))

    @property
    def classes(self) -> Classes:
        """Names and colours of the classes, in index order."""
        return self.module.data.classes

    @property
    def modalities(self) -> dict[str, Modality]:
        """What the model takes, by name, with the bands of each."""
        return dict(self.data.modalities)

    def scores(self) -> list[ScoreRecord]:
        """Scenario scores: the history, or else what `mobanet.scores` has measured of the best checkpoint, alone.

        Raises:
            UserError: where there is neither, or the file holds no scores.
        """
        if self.history:
            return list(self.history)
        path = self.folder / _SCORES_FILE
        if not path.is_file():
            best = self.folder / "checkpoints" / "best.ckpt"
            raise UserError(f"{self.folder} has no scenario scores; measure them: mobanet.scores --ckpt_path {best}.")
        return [read_scores(path)]

    def plot_history(self, path: str | Path | None = None) -> "Figure":
        """Distortion with a band of one standard error, scores and probabilities of each scenario over the epochs.

        Args:
            path: of a PNG or PDF to write, too.

        Raises:
            UserError: where there are no scores.
        """
        return plot_history(self.scores(), path)

    def plot_scores(self, record: ScoreRecord | None = None, settings: ScoreSettings | None = None) -> "Figure":
        """From distortion to probabilities: the kernel, and beside it the numbers of every scenario.

        Args:
            record: one of `scores()`; None for the last.
            settings: to score its distortion with; None for the run's own.

        Raises:
            UserError: where there are no scores.
        """
        record = record or self.scores()[-1]
        return plot_scores((settings or record.settings).score(record.distortion), record.distortion, record.scenarios)

    def plot_sensitivity(self, record: ScoreRecord | None = None, settings: ScoreSettings | None = None) -> "Figure":
        """Probabilities of the scenarios against each of tau, gamma, ridge and bandwidth, the others left alone.

        Args:
            record: one of `scores()`; None for the last.
            settings: marked, and left alone; None for the run's own.

        Raises:
            UserError: where there are no scores.
        """
        record = record or self.scores()[-1]
        return plot_sensitivity(record.distortion, record.scenarios, settings or record.settings)

    def varied_windows(self, count: int = 1) -> list[int]:
        """Numbers of the windows of the test tiles that hold the most classes, of different tiles where there are.

        Args:
            count: how many are wanted; fewer where there are no more.
        """
        return varied_windows(self.data.windows("test"), count)

    def plot_window(self, window: int) -> "Figure":
        """Inputs and truth of a window of the test tiles; below, each scenario's prediction above its errors.

        Args:
            window: its number, as in `data.windows("test")`.
        """
        maps = self.predict(window)
        return window_figure(maps, self.modalities, self.classes, f"tile {maps.tile}, window {window}")


def open_run(
    folder: str | Path, checkpoint: Literal["best", "last", "adapted"] = "best", backbone: str | Path | None = None
) -> Run:
    """Load a run's model and find its test tiles.

    Args:
        folder: that `mobanet.fit` wrote.
        checkpoint: which of its two, or what mobanet.adapt has made of one.
        backbone: file with the weights of a frozen backbone that the checkpoint leaves out, where it has moved.

    Raises:
        UserError: when the folder holds no finished run, its rasters are gone, or its backbone's weights cannot be had.
    """
    folder = Path(folder)
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        raise UserError(
            f"{folder} holds no run with checkpoints/{checkpoint}.ckpt; give a folder that fit has written."
        )
    quieten()
    file = folder / CONFIG_FILE
    if not isinstance(content := read_yaml(file), dict):
        raise UserError(f"{file} holds no options; give a folder that fit has written.")
    # before the data: a backbone that is missing is told without preparing tiles
    loaded = load_module(path, None if backbone is None else str(backbone), backbone_option=BACKBONE_OPTION)
    # plain settings alone: a run folder may come from anybody
    kept = yaml.safe_load(found_configuration(file, "test"))
    data = open_data(
        {"data": content.get("data"), **kept}, file, loaded.module.data, loaded.checkpoint.get(DATA_STATE), True
    )
    history, tested = folder / HISTORY_FILE, folder / "test" / "test_scenarios.json"
    return Run(
        folder,
        loaded.module,
        data,
        read_history(history) if history.is_file() else [],
        _content(tested) if tested.is_file() else None,
    )


def _content(tested: Path) -> dict[str, Any]:
    try:
        return read_json(tested)
    except ValueError as error:
        raise UserError(f"{tested} is damaged ({error}); run mobanet.test again.") from error
