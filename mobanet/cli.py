"""The command line of fit and test: a LightningCLI with experiments by name, run folders and plain errors."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.sources.catalogue import check_root
from mobanet.data.store import STORE_FILE, default_store
from mobanet.entry import one_sentence
from mobanet.errors import UserError
from mobanet.experiment import CONFIG_FILE, choose_run_folder, resolve, take
from mobanet.parser_errors import plain_parser_message
from mobanet.training.checkpoint import WholeFiles, read_checkpoint
from mobanet.training.csv_log import MetricsCSV
from mobanet.training.figures import PredictionFigure
from mobanet.training.messages import collected, quieten, told_once, trainer_error, write_log
from mobanet.training.module import SegmentationModule
from mobanet.training.monitor import MonitorCheck
from mobanet.training.progress import PlainProgress
from mobanet.training.results import ResultFiles
from mobanet.training.summary import RunSummary
from mobanet.training.tracking import Tracking, wandb_logger


class Parser(LightningArgumentParser):
    """Reports a wrong option as one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `message` as one sentence; the process that is to tell it does."""
        raise UserError(plain_parser_message(message, self)) from ex


class MobanetCLI(LightningCLI):
    """Parses, instantiates, and knows the run folder.

    Args:
        command: `fit` or `test`.
        words: the command line behind the program's name.
    """

    def __init__(self, command: str, words: Sequence[str]) -> None:
        self.command = command
        self.checkpoint: dict[str, Any] | None = None
        path, _ = take(words, "--ckpt_path")
        if path:
            self.checkpoint = read_checkpoint(path)  # before what the parser has to say about its run's configuration
        elif command == "test" and not any(word.split("=")[0] in _WITHOUT_CHECKPOINT for word in words):
            raise UserError(_NO_CHECKPOINT)
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
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("data.description", "model.data", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the resolved words; the process's own are only where they came from."""
        self.config = parser.parse_args(args)
        seed = self.config.seed_everything
        if isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise UserError(f"--seed_everything is {str(seed).lower()}; give a number from 0 to {2**32 - 1}.")

    def before_instantiate_classes(self) -> None:
        """Settle the model, if there is a checkpoint, and the run folder."""
        path = self.config.ckpt_path
        if path and self.checkpoint is None:  # named in a configuration file
            self.checkpoint = read_checkpoint(path)
        if self.command == "test":
            if self.checkpoint is None:
                raise UserError(_NO_CHECKPOINT)
            self._model_from_checkpoint(self.checkpoint["hyper_parameters"])
        elif self.checkpoint is not None:
            self.config.model.restored = True
        self.folder = choose_run_folder(self.config.run, self.experiment, path)
        _check_writable(self.folder)
        root, store = Path(self.config.data.root), self.config.data.store
        if not ((Path(store) if store else default_store(root)) / STORE_FILE).is_file():
            check_root(root)  # before pretrained weights are fetched

    def _model_from_checkpoint(self, saved: dict[str, Any]) -> None:
        """A test takes the model as the checkpoint has it; an option that says otherwise is refused."""
        names, given = [m["name"] for m in saved["data"]["modalities"]], self.config.data.modalities
        if isinstance(given, str):
            given = given.replace(" ", "").split(",")
        if given not in (None, names):
            raise _conflict("data.modalities", ", ".join(given), ", ".join(names))
        self.config.data.modalities = names
        given = self.config.model.clone()
        own = {key: value for key, value in saved.items() if key not in ("data", "seed")}
        self.config = self.parser.parse_object({"model": own}, self.config)
        explicit = {word.split("=")[0][2:] for word in self.given_words if word.startswith("--model.")}
        for key in sorted(explicit):
            before, after = given.get(key[len("model.") :]), self.config.get(key)
            if before != after:
                raise _conflict(key, before, after)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the run folder's loggers and callbacks to those of the configuration."""
        config = self.config_init["trainer"]
        config["callbacks"] = [*(config.get("callbacks") or []), *self._callbacks(config)]
        config["default_root_dir"] = config.get("default_root_dir") or str(self.folder)
        fast = bool(config.get("fast_dev_run"))
        if config.get("logger") in (None, True):
            config["logger"] = False if fast else self._loggers()
        try:
            trainer = Trainer(**config)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise trainer_error(error, dict(config.items())) from error
        strategy = trainer.strategy
        plain = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)  # others write in ways of their own
        if plain and type(strategy.checkpoint_io) is TorchCheckpointIO:
            strategy.checkpoint_io = WholeFiles()
        return trainer

    def _callbacks(self, config: Namespace) -> list[Callback]:
        results = self.folder / "test" if self.command == "test" else self.folder
        callbacks: list[Callback] = [RunSummary()]
        if config.get("enable_progress_bar") is not False:
            callbacks.append(TQDMProgressBar() if sys.stderr.isatty() else PlainProgress())
        if config.get("fast_dev_run"):  # leaves nothing behind
            return callbacks
        callbacks.append(ResultFiles(results))
        if self.command == "test":
            return [*callbacks, PredictionFigure(results / "predictions.png")]
        callbacks.append(MonitorCheck(self.config.monitor))
        if config.get("enable_checkpointing") is False:
            return callbacks
        where = str(self.folder / "checkpoints")
        keep = {"dirpath": where, "auto_insert_metric_name": False, "enable_version_counter": False}
        best = ModelCheckpoint(filename="best", monitor=self.config.monitor, mode=self.config.monitor_mode, **keep)
        last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **keep)  # validated or not
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


def main(command: str, words: Sequence[str] | None = None) -> None:
    """Run `fit` or `test`.

    Args:
        command: which.
        words: the command line behind the program's name; None for this process's.
    """
    words = sys.argv[1:] if words is None else list(words)
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    quieten()
    with one_sentence(), collected() as said:
        with told_once():
            cli = MobanetCLI(command, words)
            _prepare(cli)
        try:
            (_fit if command == "fit" else _test)(cli, said)
        except BaseException as error:
            _end_children(cli.trainer)
            if isinstance(error, torch.OutOfMemoryError):
                raise UserError(
                    f"the GPU's memory is full ({str(error).split('.')[0]}); lower --data.batch_size and raise "
                    "--trainer.accumulate_grad_batches by the same factor, or set --trainer.precision bf16-mixed."
                ) from error
            if isinstance(error, MisconfigurationException):
                raise trainer_error(error, dict(cli.config_init["trainer"].items())) from error
            if isinstance(error, RuntimeError) and re.match(r"DataLoader worker .* (killed|exited)", str(error)):
                raise UserError(
                    "a process that reads crops was killed, most likely for lack of memory or of shared memory; lower "
                    "--data.num_workers (0 reads in the training process itself)."
                ) from error
            raise


def _prepare(cli: MobanetCLI) -> None:
    """All that can be known to go wrong, before other processes are started and a run folder is written."""
    stage = "fit" if cli.command == "fit" else "test"
    cli.datamodule.prepare_data()
    cli.datamodule.setup(stage)
    if stage == "test":
        cli.model.check_checkpoint(cli.checkpoint)
        return
    if cli.checkpoint is not None:
        cli.model.check_resumable(cli.checkpoint)
    size, steps = cli.datamodule.batch_size, cli.datamodule.steps_per_epoch
    if size == 1:
        raise UserError(
            "--data.batch_size is 1, and batch normalisation cannot train on a single sample: set it to 2 or more."
        )
    trainer = cli.config_init["trainer"]
    interval = trainer.get("val_check_interval")
    if isinstance(interval, int) and interval > steps and trainer.get("check_val_every_n_epoch") is not None:
        raise UserError(
            f"--trainer.val_check_interval is {interval}, more than the {steps} steps of an epoch; give at most "
            f"{steps}, or set --trainer.check_val_every_n_epoch null."
        )


def _fit(cli: MobanetCLI, said: MemoryHandler) -> None:
    leaves = not cli.config_init["trainer"].get("fast_dev_run")
    path = cli.config.ckpt_path
    if leaves and rank_zero_only.rank == 0:
        cli.write_config()
        write_log(said, cli.folder)
    begun = cli.checkpoint.get("global_step") if cli.checkpoint else None
    cli.checkpoint = None  # Lightning reads it once more
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=path, weights_only=True)
    if begun is not None and cli.trainer.global_step == begun:
        rank_zero_info(
            f"nothing was left to train: {path} has reached --trainer.max_epochs {cli.trainer.max_epochs} or "
            f"--trainer.max_steps {cli.trainer.max_steps}; raise it to go on"
        )
    if leaves:
        rank_zero_info(f"the run is in {cli.folder}")


def _test(cli: MobanetCLI, said: MemoryHandler) -> None:
    cli.checkpoint = None
    cli.trainer.test(
        cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True, verbose=False
    )


def _end_children(trainer: Trainer) -> None:
    """The processes of a distributed run would wait for one that failed."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        launcher.kill(signal.SIGKILL)


def _check_writable(folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"results cannot be written to {folder}; give a writable folder with --run DIR.")


def _conflict(option: str, given: Any, saved: Any) -> UserError:
    return UserError(f"--{option} is {given}, but the checkpoint has {saved}; leave the option out.")


_WITHOUT_CHECKPOINT = ("-h", "--help", "--print_config", "--config", "-c")
_NO_CHECKPOINT = "mobanet.test needs --ckpt_path FILE, such as runs/…/checkpoints/best.ckpt."
_DESCRIPTIONS = {
    "fit": "Train a model on multimodal rasters. Start from --experiment NAME and override any setting.",
    "test": "Evaluate a checkpoint on the test tiles. The model comes from the checkpoint.",
}
_USAGE = {"fit": "--experiment NAME", "test": "--ckpt_path FILE"}
_CKPT_HELP = {
    "fit": "checkpoint to resume from; options given here win over those in it",
    "test": "checkpoint to evaluate",
}
