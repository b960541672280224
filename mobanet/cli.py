"""The command line of fit and test: a LightningCLI with experiments by name, run folders and plain errors."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from mobanet.data.datamodule import RasterDataModule
from mobanet.entry import fail, one_sentence
from mobanet.errors import UserError
from mobanet.experiment import CONFIG_FILE, choose_run_folder, resolve
from mobanet.parser_errors import plain_parser_message
from mobanet.training.checkpoint import read_checkpoint
from mobanet.training.csv_log import MetricsCSV
from mobanet.training.figures import PredictionFigure
from mobanet.training.module import SegmentationModule
from mobanet.training.progress import PlainProgress
from mobanet.training.results import ResultFiles
from mobanet.training.summary import RunSummary
from mobanet.training.tracking import Tracking, wandb_logger


class Parser(LightningArgumentParser):
    """Reports a wrong option as one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `message` on one line and exit with code 2."""
        fail(plain_parser_message(message, self))


class MobanetCLI(LightningCLI):
    """Parses, instantiates, and knows the run folder.

    Args:
        command: `fit` or `test`.
        words: the command line behind the program's name.
    """

    def __init__(self, command: str, words: Sequence[str]) -> None:
        self.command = command
        line = resolve(words)
        self.experiment = line.experiment
        self.given_words = list(words)
        super().__init__(
            SegmentationModule,
            RasterDataModule,
            args=line.words,
            run=False,
            parser_class=Parser,
            parser_kwargs={
                "prog": f"python -m mobanet.{command}",
                "usage": f"python -m mobanet.{command} {_USAGE[command]} [--OPTION VALUE ...]",
                "description": _DESCRIPTIONS[command],
            },
            trainer_defaults={
                "max_epochs": 50,
                "log_every_n_steps": 10,
                "use_distributed_sampler": False,
                "enable_model_summary": False,
            },
            save_config_callback=None,
            seed_everything_default=42,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our own options, and feed what the data is to the model."""
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=_CKPT_HELP[self.command])
        parser.add_argument("--run", type=str | None, default=None, help="folder for results; null for runs/NAME/TIME")
        parser.add_argument("--wandb", type=Tracking, default="auto", help="auto: online if logged in, offline if not")
        parser.add_argument("--monitor", type=str, default="val/miou", help="metric by which the best epoch is kept")
        parser.add_argument("--monitor_mode", type=Literal["max", "min"], default="max", help="which way is better")
        parser.add_argument("--experiment", type=str | None, default=None, help="name of an experiment, or a YAML file")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("data.description", "model.data", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the resolved words; the process's own are only where they came from."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Read the checkpoint, if there is one, and settle the run folder."""
        checkpoint = self.config.ckpt_path
        self.checkpoint: dict[str, Any] | None = read_checkpoint(checkpoint) if checkpoint else None
        if self.command == "test":
            if self.checkpoint is None:
                raise UserError("mobanet.test needs --ckpt_path FILE, such as runs/…/checkpoints/best.ckpt.")
            self._model_from_checkpoint(self.checkpoint["hyper_parameters"])
        elif self.checkpoint is not None:
            self.config.model.restored = True
        self.folder = choose_run_folder(self.config.run, self.experiment, checkpoint)
        _check_writable(self.folder)

    def _model_from_checkpoint(self, saved: dict[str, Any]) -> None:
        """A test takes the model as the checkpoint has it; an option that says otherwise is refused."""
        given = self.config.model.clone()
        own = {key: value for key, value in saved.items() if key not in ("data", "seed")}
        self.config = self.parser.parse_object({"model": own}, self.config)
        explicit = {word.split("=")[0][2:] for word in self.given_words if word.startswith("--model.")}
        for key in sorted(explicit):
            before, after = given.get(key[len("model.") :]), self.config.get(key)
            if before != after:
                raise UserError(f"--{key} is {before}, but the checkpoint has {after}; leave the option out.")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the run folder's loggers and callbacks to those of the configuration."""
        config = self.config_init["trainer"]
        config["callbacks"] = [*(config.get("callbacks") or []), *self._callbacks(config)]
        config["default_root_dir"] = config.get("default_root_dir") or str(self.folder)
        fast = bool(config.get("fast_dev_run"))
        if config.get("logger") in (None, True):
            config["logger"] = False if fast else self._loggers()
        try:
            return Trainer(**config)
        except (MisconfigurationException, ValueError) as error:
            raise UserError(f"the trainer refuses its options: {error}") from error

    def _callbacks(self, config: Namespace) -> list[Callback]:
        results = self.folder / "test" if self.command == "test" else self.folder
        callbacks: list[Callback] = [RunSummary(), ResultFiles(results)]
        if config.get("enable_progress_bar") is not False:
            callbacks.append(TQDMProgressBar() if sys.stderr.isatty() else PlainProgress())
        if self.command == "test":
            return [*callbacks, PredictionFigure(results / "predictions.png")]
        if config.get("enable_checkpointing") is False or config.get("fast_dev_run"):
            return callbacks
        where = str(self.folder / "checkpoints")
        keep = {"dirpath": where, "auto_insert_metric_name": False, "enable_version_counter": False}
        best = ModelCheckpoint(filename="best", monitor=self.config.monitor, mode=self.config.monitor_mode, **keep)
        last = ModelCheckpoint(filename="last", **keep)
        return [*callbacks, best, last]

    def _loggers(self) -> list[Any]:
        if self.command == "test":
            return []
        first_step = self.checkpoint.get("global_step", 0) if self.checkpoint else None
        loggers = [MetricsCSV(self.folder, first_step)]
        if rank_zero_only.rank == 0:
            tracked = wandb_logger(self.config.wandb, self.folder, self.experiment)
            loggers += [tracked] if tracked else []
        return loggers

    def write_config(self) -> None:
        """Save the resolved configuration in the run folder."""
        if rank_zero_only.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f"{CONFIG_FILE}.part"
            config = self.config.clone()
            config.run = config.ckpt_path = config.experiment = None  # of this call, not of the experiment
            self.parser.save(config, str(part), skip_none=False, overwrite=True, multifile=False)
            os.replace(part, self.folder / CONFIG_FILE)

    def log_to_file(self) -> None:
        """Keep what is said on the terminal in log.txt as well."""
        if rank_zero_only.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(self.folder / "log.txt")
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
            for name in ("lightning.pytorch", "mobanet"):
                logging.getLogger(name).addHandler(handler)


def main(command: str, words: Sequence[str] | None = None) -> None:
    """Run `fit` or `test`.

    Args:
        command: which.
        words: the command line behind the program's name; None for this process's.
    """
    words = sys.argv[1:] if words is None else list(words)
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    _quieten()
    with one_sentence():
        cli = MobanetCLI(command, words)
        try:
            (_fit if command == "fit" else _test)(cli)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU's memory is full ({str(error).split('.')[0]}); lower --data.batch_size and raise "
                "--trainer.accumulate_grad_batches by the same factor, or set --trainer.precision bf16-mixed."
            ) from error


def _fit(cli: MobanetCLI) -> None:
    cli.datamodule.prepare_data()  # before any other process is started, so that its problems are told once
    cli.datamodule.setup("fit")
    if cli.checkpoint is not None:
        cli.model.check_checkpoint(cli.checkpoint)
    if not cli.config.trainer.get("fast_dev_run"):
        cli.write_config()
        cli.log_to_file()
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True)
    if not cli.config.trainer.get("fast_dev_run"):
        rank_zero_info(f"the run is in {cli.folder}")


def _test(cli: MobanetCLI) -> None:
    cli.datamodule.prepare_data()
    cli.datamodule.setup("test")
    cli.model.check_checkpoint(cli.checkpoint)
    cli.trainer.test(
        cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True, verbose=False
    )


def _seed(value: bool | int) -> int:
    return 42 if isinstance(value, bool) else value


def _check_writable(folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"results cannot be written to {folder}; give a writable folder with --run DIR.")


def _quieten() -> None:
    """Leave out what the libraries say about themselves and what is by design here."""
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*is smaller than the logging interval.*",
        ".*overridden `on_after_batch_transfer` in `LightningModule`.*",
        ".*isinstance.treespec.*",
        ".*treespec, LeafSpec.*",
        ".*module\\(s\\) in eval mode at the start of training.*",
        ".*dataloader is not resumable.*",  # ours is: it goes on from the trainer's own count
        ".*callbacks used to create the checkpoint need to be provided.*",
    ):
        warnings.filterwarnings("ignore", message)
    noise = ("Tip:", "TPU available", "HPU available", "Loading `train_dataloader` to estimate", "Seed set to")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(lambda record: not any(word in record.getMessage() for word in noise))


_DESCRIPTIONS = {
    "fit": "Train a model on multimodal rasters. Start from --experiment NAME and override any setting.",
    "test": "Evaluate a checkpoint on the test tiles. The model comes from the checkpoint.",
}
_USAGE = {"fit": "--experiment NAME", "test": "--ckpt_path FILE"}
_CKPT_HELP = {
    "fit": "checkpoint to resume from; options given here win over those in it",
    "test": "checkpoint to evaluate",
}
