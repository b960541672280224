"""Pictures of what the model makes of a few validation windows in every scenario, while it trains."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.data.attached import data_of
from mobanet.errors import UserError
from mobanet.evaluation.window_maps import predict_window
from mobanet.figures.canvas import write_png
from mobanet.figures.windows import varied_windows, window_figure
from mobanet.scenarios.refresh import eval_mode
from mobanet.training.handed import segmentation

if TYPE_CHECKING:
    from mobanet.training.module import SegmentationModule

KEY = "panels"
"""Name of the pictures in Weights & Biases and TensorBoard."""

_LOOKED_AT = 60
"""Windows among which the shown ones are chosen: their labels are read for it."""


@dataclass
class PanelSettings:
    """Pictures of validation windows: inputs, truth, and prediction and errors in every scenario."""

    every_n_epochs: int | None = 10
    """Epochs from one drawing to the next, the last epoch is always drawn; null draws none."""

    windows: int = 2
    """Number of windows, those with the most classes, of different tiles where there are."""

    def __post_init__(self) -> None:
        hints = {"every_n_epochs": ", or null for none", "windows": ""}
        for name, hint in hints.items():
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value < 1):
                raise UserError(f"--panels.{name} is {str(value).lower()}; give a number of at least 1{hint}.")


class ScenarioPanels(Callback):
    """Draws into the run folder's `panels`, and hands the pictures to loggers that take them.

    The first process alone draws, with its own weights and without talking to the others, which go on until they need
    it. Modes and random numbers of the training are left as they were.

    Args:
        settings: how often, and how many windows.
        folder: for `epoch_0010_1.png`, epoch and number of the window, from 1.
    """

    def __init__(self, settings: PanelSettings, folder: str | Path) -> None:
        self.settings = settings
        self.folder = Path(folder)
        self._windows: list[int] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so where no process has all weights, so that the first one cannot draw alone."""
        if self.settings.every_n_epochs is not None and not _whole(trainer):
            rank_zero_info(f"panels are not drawn with {type(trainer.strategy).__name__}, which shares out the weights")
        elif self.settings.every_n_epochs is not None and not data_of(trainer).validates:
            rank_zero_info("panels are not drawn: there are no validation tiles")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is time."""
        every, epoch = self.settings.every_n_epochs, trainer.current_epoch + 1
        if not trainer.is_global_zero or every is None or not _whole(trainer) or not data_of(trainer).validates:
            return
        # a run may end by its steps or early, in an epoch that is no multiple
        last = trainer.should_stop or epoch == trainer.max_epochs or trainer.global_step == trainer.max_steps
        if epoch % every and not last:
            return
        windows = data_of(trainer).windows("validation")
        if not self._windows:
            self._windows = varied_windows(windows, self.settings.windows, _LOOKED_AT)
        images, captions = [], []
        for number, window in enumerate(self._windows):
            image, tile = self._draw(trainer, segmentation(pl_module), windows[window], epoch, number)
            images.append(image)
            captions.append(f"tile {tile}, window {window}")
        for logger in trainer.loggers:
            # W&B's and TensorBoard's; metrics.csv takes numbers only
            if hasattr(logger, "log_image"):
                # the step that Lightning logs the figures of an epoch's end at
                logger.log_image(KEY, images, step=trainer.global_step - 1, caption=captions)

    def _draw(
        self, trainer: Trainer, module: "SegmentationModule", sample: dict[str, Any], epoch: int, number: int
    ) -> tuple[np.ndarray, str]:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        with eval_mode(module.network), trainer.precision_plugin.val_step_context():
            maps = predict_window(module, sample, module.scenarios, trainer.strategy.batch_to_device)
        data = data_of(trainer)
        title = f"epoch {epoch}, tile {maps.tile}"
        figure = window_figure(maps, data.modalities, module.data.classes, title)
        # the canvas below draws at the figure's own, to which a file's does not count
        figure.set_dpi(80)
        write_png(figure, self.folder / f"epoch_{epoch:04d}_{number + 1}.png", dpi=80)
        canvas = figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)  # see `window_figure`
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy(), maps.tile  # the buffer goes with the canvas


def _whole(trainer: Trainer) -> bool:
    """Whether each process has all weights."""
    strategy = trainer.strategy
    # DeepSpeed's is one of DDP's, and shares out weights from stage 3 on
    return isinstance(strategy, SingleDeviceStrategy | DDPStrategy) and not isinstance(strategy, DeepSpeedStrategy)
