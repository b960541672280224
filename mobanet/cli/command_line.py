"""The command line of fit, test, scores and adapt: a LightningCLI with experiments, run folders, plain errors."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from jsonargparse import Namespace, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.checkpoints.best_and_last import run_checkpoints
from mobanet.checkpoints.checkpoint import WholeFiles, checkpoint_in
from mobanet.checkpoints.frozen import BACKBONE_OPTION, check_has_need, left_out
from mobanet.cli.crop_sizes import follow_crop
from mobanet.cli.experiments import resolve
from mobanet.cli.monitored import MonitorCheck
from mobanet.cli.networks import find_code_here, with_networks
from mobanet.cli.option_names import as_typed
from mobanet.cli.options import DESCRIPTIONS, USAGE, add_options
from mobanet.cli.parser_errors import plain_parser_message
from mobanet.cli.parser_help import HelpFormatter, PrintedHelp, tidied
from mobanet.cli.seeds import OPTIONS as SEED_OPTIONS
from mobanet.cli.trainer_checks import as_list, check_overfit, check_strategy, shows_progress
from mobanet.data.datamodule import RasterDataModule
from mobanet.datasets.catalogue import STORE_FILE, check_root
from mobanet.errors import UserError
from mobanet.evaluation.adaptation import check_resumes
from mobanet.evaluation.degradations import ALL, chosen_degradations
from mobanet.evaluation.details import OBJECTS_OPTION, USUAL_OBJECTS, DetailSettings, chosen_objects
from mobanet.evaluation.distances import OPTION as BOUNDARY
from mobanet.evaluation.distances import USUAL, chosen_distances
from mobanet.evaluation.specialists import read_specialists
from mobanet.evaluation.test_maps import TestMaps
from mobanet.exporting.places import Exported, as_checkpoint, exported_in
from mobanet.figures.predictions import PredictionFigure
from mobanet.files import write_text
from mobanet.lightning_internals import callbacks_of, is_first_process
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.precision import AUTO
from mobanet.plain.command_words import given_options, listed, take, with_bare
from mobanet.runs.degraded_test import DegradedTest
from mobanet.runs.folder import CONFIG_FILE, choose_run_folder, run_folder_of
from mobanet.runs.interrupt import Interrupts
from mobanet.runs.last_validation import LastValidation
from mobanet.runs.messages import trainer_error
from mobanet.runs.progress import BarProgress, PlainProgress
from mobanet.runs.record import RunRecord, TestRecord
from mobanet.runs.requeue import going_on
from mobanet.runs.results import ResultFiles
from mobanet.runs.saved_config import announce_changes, check_saved, register_types
from mobanet.runs.summary import RunSummary
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.failure import chosen_failures
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.words import named
from mobanet.store.stored import default_store
from mobanet.tracking.csv_log import METRICS_FILE, MetricsCSV, read_rows
from mobanet.tracking.panels import PanelSettings, ScenarioPanels
from mobanet.tracking.tensorboard import EVENTS
from mobanet.tracking.trackers import tracking_loggers
from mobanet.tracking.wandb_run import RUN_FILE
from mobanet.training.module import SegmentationModule
from mobanet.training.trainer import Trainer


class Parser(PrintedHelp, LightningArgumentParser):
    """Reports a wrong option as one sentence."""

    def format_help(self, *given: Any) -> str:
        """The text of `--help_all`."""
        command = self.prog.rpartition(".")[2]
        with tidied(self, command):
            return as_typed(super().format_help(*given), command)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `message` as one sentence; the process that is to tell it does."""
        raise UserError(plain_parser_message(message, self)) from ex


class MobanetCLI(LightningCLI):
    """Parses, instantiates, and knows the run folder.

    Args:
        command: `fit`, `test`, `scores` or `adapt`.
        words: the command line behind the program's name.
    """

    def __init__(self, command: str, words: Sequence[str]) -> None:
        self.command = command
        # first of all: a network of the user's own has to be known before the parser meets its name
        words = with_networks(words, resumes=command == "fit")
        if command == "fit":
            # a job that SLURM starts again has the command line of its first start
            words = with_bare(going_on(words), ("--test",))
        elif command == "test":
            for option, meaning in (("--degrade", ALL), (BOUNDARY, USUAL), (OBJECTS_OPTION, USUAL_OBJECTS)):
                words = with_bare(words, (option,), meaning)
        self.exported: Exported | None = None
        words = self._with_files(words)
        self.checkpoint: dict[str, Any] | None = None
        self.initial: dict[str, Any] | None = None
        path, _ = take(words, "--ckpt_path")
        if path:
            # before what the parser has to say about its run's configuration
            self.checkpoint, words = self._read(path, "--ckpt_path", words)
        elif command == "fit" and not _asks_for_help(words) and (start := take(words, "--init_from")[0]):
            self.initial, words = self._read(start, "--init_from", words)
        elif command != "fit" and not given_options(words) & set(_WITHOUT_CHECKPOINT):
            raise UserError(_NO_CHECKPOINT.format(command))
        for option in ("--variant", "--init_from") if command != "fit" else ():
            if option in given_options(words):
                raise UserError(
                    f"{option} is for mobanet.fit; mobanet.{command} takes all from --ckpt_path: leave it out."
                )
        for option in ("--degrade", "--degrade_seed", BOUNDARY, OBJECTS_OPTION) if command != "test" else ():
            if option in given_options(words):
                raise UserError(f"{option} is for mobanet.test --ckpt_path FILE; leave it out here.")
        # settings are explained there; to read them takes as long as all else that the parser does
        set_parsing_settings(docstring_parse_attribute_docstrings=_asks_for_explanations(words))
        register_types()
        line = resolve(words, command)
        self.experiment = line.experiment
        if line.said:
            rank_zero_info(f"experiment  {line.said}")
        self.given_words = list(words)
        super().__init__(
            SegmentationModule,
            RasterDataModule,
            trainer_class=Trainer,
            args=line.words,
            run=False,  # no subcommands: each verb is a command of its own
            parser_class=Parser,
            parser_kwargs={
                "prog": f"python -m mobanet.{command}",
                "usage": f"python -m mobanet.{command} {USAGE[command]} [--OPTION VALUE ...]",
                "description": DESCRIPTIONS[command],
                "formatter_class": HelpFormatter,
            },
            trainer_defaults={
                "max_epochs": 50,  # as MoBaNet's authors train
                "log_every_n_steps": 10,  # Lightning's 50 may be more than an epoch has
                "use_distributed_sampler": False,  # our samplers know of ranks themselves
                "enable_model_summary": False,  # `RunSummary` takes its place
                **({"precision": AUTO} if command == "fit" else {}),
            },
            save_config_callback=None,  # `write_config` comes before other processes are started
            seed_everything_default=42,  # that of MoBaNet's authors
            auto_configure_optimizers=False,  # the module makes its own, by its own options
            load_from_checkpoint_support=False,  # it writes into checkpoints which code to run
        )

    def _with_files(self, words: Sequence[str]) -> Sequence[str]:
        """The words with the checkpoint itself where a run's folder is given; a training goes on from the last one.

        A model on the hub becomes the folder that it was downloaded to.
        """
        for option, last in (("--ckpt_path", self.command == "fit"), ("--init_from", False)):
            path, rest = take(words, option)
            if not path:
                continue
            if (exported := exported_in(path, option)) is not None:
                words = [*rest, option, str(exported.path)]
                self.exported = exported
            elif Path(path).is_dir():
                words = [*rest, option, str(checkpoint_in(path, option, last))]
        return words

    def _read(self, path: str, option: str, words: Sequence[str] = ()) -> tuple[dict[str, Any], Sequence[str]]:
        """The content of a checkpoint or of an exported model, and the words without what was needed for it.

        Raises:
            UserError: when it cannot be read, or a training is to go on from an export.
        """
        exported = self.exported or exported_in(path, option)
        if exported is None:
            return read_checkpoint(path, option), words
        self.exported = exported
        if self.command == "fit" and option == "--ckpt_path":
            raise UserError(
                f"--ckpt_path {path} is an exported model, which has no state of a training to go on with; begin a new "
                "run with its weights: --init_from."
            )
        backbone, rest = take(words, BACKBONE_OPTION)  # which is read here, and not with the model of the run
        return as_checkpoint(exported.read(backbone, BACKBONE_OPTION)), rest

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our own options, and feed what the data is to the model."""
        add_options(parser, self.command)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)  # LightningCLI has it as bool or int
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        # known when the data module has been made, and not from its settings alone
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
            self.checkpoint, _ = self._read(path, "--ckpt_path")
        if self.command != "fit":
            if self.checkpoint is None:
                raise UserError(_NO_CHECKPOINT.format(self.command))
            self._model_from_checkpoint(self.checkpoint)
            self._scale_as(self.checkpoint)
        elif self.config.seeds or self.config.test:  # on the command line they are seen to before
            raise UserError("seeds and test are no settings of an experiment; give --seeds or --test as options.")
        elif self.checkpoint is not None:
            check_resumes(self.checkpoint, path)
            follow_crop(self.config, self.checkpoint)
            if "--init_from" in given_options(self.given_words):
                raise UserError("--ckpt_path goes on with a run and --init_from begins a new one; give one of them.")
            self._scale_as(self.checkpoint)
            self.config.model.restored = self._restored_by(self.checkpoint)
        elif self.config.init_from:
            if self.initial is None:  # named in a configuration file
                self.initial, _ = self._read(self.config.init_from, "--init_from")
            follow_crop(self.config, self.initial)
            self._scale_as(self.initial)
            self.config.model.restored = self._restored_by(self.initial)
        else:
            follow_crop(self.config)
        if self.command == "fit":
            find_code_here()  # where a loss or an optimiser of the user's own may lie
        self.folder = choose_run_folder(self.config.run, self.experiment, path)
        _check_writable(self.folder)
        root, store = Path(self.config.data.root), self.config.data.store
        if not ((Path(store) if store else default_store(root, self.config.data.layout)) / STORE_FILE).is_file():
            check_root(root, self.config.data.layout)  # before pretrained weights are fetched

    def _scale_as(self, checkpoint: dict[str, Any]) -> None:
        """Scale what nobody chooses a scaling for as the checkpoint's model was trained: defaults have changed."""
        data, saved = self.config.data, checkpoint["hyper_parameters"]["data"]
        own = saved["scaling"] if data.layout == saved["layout"] else ()
        names = listed(data.modalities) or own  # the layout's own where none are named
        kept = {name: how for name, how in saved["scaling"].items() if name in names}
        data.scaling = {**kept, **(data.scaling or {})}

    def _restored_by(self, checkpoint: dict[str, Any]) -> bool | Literal["trained"]:
        """What of the model a checkpoint brings; of another backbone, which is refused later, nothing is fetched."""
        saved, model = checkpoint["hyper_parameters"], self.config.model
        own = (model.architecture, model.backbone.name, model.backbone.options)
        same = own == (saved["architecture"], saved["backbone"]["name"], saved["backbone"]["options"])
        return "trained" if same and left_out(checkpoint) else True

    def _model_from_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the model as the checkpoint has it; an option that says otherwise is refused.

        Where a backbone is left out, its weights may lie in another file by now.
        """
        saved = checkpoint["hyper_parameters"]
        names, typed = [m["name"] for m in saved["data"]["modalities"]], listed(self.config.data.modalities)
        if typed and typed != names:
            raise _conflict("data.modalities", ", ".join(typed), ", ".join(names))
        self.config.data.modalities = names
        # what was typed, to be compared with what the checkpoint has
        given = self.config.model.clone()
        # these two are linked, and no setting of the model to the parser
        own = {key: value for key, value in saved.items() if key not in ("data", "seed")}
        explicit = {option[2:] for option in given_options(self.given_words) if option.startswith("--model.")}
        if BACKBONE_OPTION[2:] in explicit and given.backbone.checkpoint:
            file = given.backbone.checkpoint
            check_has_need(checkpoint, f"--ckpt_path {self.config.ckpt_path}", f"{BACKBONE_OPTION} {file}")
            own["backbone"] = {**own["backbone"], "checkpoint": file}
        # by the parser, which checks kinds, and keeps what a checkpoint of an earlier version lacks
        self.config = self.parser.parse_object({"model": own}, self.config)
        mappings = ("model.loss", "model.optimizer", "model.schedule.init_args")  # each is one value
        whole = {next((m for m in mappings if key.startswith(f"{m}.")), key) for key in explicit}
        for key in sorted(whole):
            before, after = given.get(key[len("model.") :]), self.config.get(key)
            if before != after:
                raise _conflict(key, before, after)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the run folder's loggers and callbacks to those of the configuration."""
        config = self.config_init["trainer"]
        if self.command in _MEASURING:  # so little to compute that other processes are not worth their start
            config.devices, config.num_nodes, config.strategy, config.logger = 1, 1, "auto", False
        settings: ScenarioSettings = self.config_init["scenarios"]
        # what is kept of an adaptation is chosen scenario by scenario
        validated = "auto" if self.command == "adapt" else settings.validated
        self.model.evaluate_on(validation=validated, test=settings.evaluate)
        names, classes = [m.name for m in self.model.data.modalities], self.model.data.classes
        self.model.evaluation.failures = chosen_failures(settings.failure, names)
        if self.command == "test" and settings.specialists:
            self.model.evaluation.specialists = read_specialists(settings.specialists, names, classes)
        if self.command == "test":
            distances, objects = self.config.boundary, self.config.objects
            self.model.evaluation.asked_details = DetailSettings(
                () if distances is None else chosen_distances(distances),
                () if objects is None else chosen_objects(objects, classes),
            )
        if self.command == "fit":
            check_overfit(config.get("overfit_batches"))
            check_strategy(config.get("strategy"), settings)
            validated = self.model.evaluation.stages["validation"].scenarios
            self.config.monitor = self.config.monitor or settings.monitor(len(validated))
        config["callbacks"] = as_list(config.get("callbacks"))
        config["callbacks"] += self._callbacks(config)
        # what Lightning writes of its own accord goes there, too
        config["default_root_dir"] = config.get("default_root_dir") or str(self.folder)
        fast = bool(config.get("fast_dev_run"))
        given = config.get("logger")
        ours = given in (None, True) and not fast
        own = [] if given in (None, True, False) else [*given] if isinstance(given, Iterable) else [given]
        config["logger"] = False if fast else [*self._logs(), *own]
        try:
            trainer = Trainer(**config)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise trainer_error(error, dict(config.items())) from error
        if self.command == "fit":
            callbacks_of(trainer).append(LastValidation())  # behind checkpoints, which Lightning puts last
        strategy = trainer.strategy
        plain = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)  # others write in ways of their own
        # of this very class: a subclass is somebody's choice
        if plain and type(strategy.checkpoint_io) is TorchCheckpointIO:
            strategy.checkpoint_io = WholeFiles()
        if ours and self.command == "fit" and trainer.is_global_zero:  # of all nodes, which the trainer knows
            (log,) = trainer.loggers
            assert isinstance(log, MetricsCSV)  # see `_logs`
            trainer.loggers = [log, *self._followers(log.rows if self._goes_on() else None)]
        return trainer

    def _callbacks(self, config: Namespace) -> list[Callback]:
        results = self.folder / "test" if self.command == "test" else self.folder
        degraded = self._degraded(results) if self.command == "test" else []
        callbacks: list[Callback] = [RunSummary()]
        settings: ScenarioSettings = self.config_init["scenarios"]
        if config.get("enable_progress_bar") is not False and not shows_progress(config["callbacks"]):
            terminal = sys.stdout.isatty() and sys.stderr.isatty()
            callbacks.append(BarProgress() if terminal else PlainProgress())
        if self.command == "fit":
            self.sampling = ScenarioSampling(settings, None if config.get("fast_dev_run") else self.folder)
            keeps = not config.get("fast_dev_run") and config.get("enable_checkpointing") is not False
            self.interrupts = Interrupts(self.folder / "checkpoints" / "last.ckpt" if keeps else None)
            callbacks += [self.sampling, self.interrupts]
        if config.get("fast_dev_run") or self.command in _MEASURING:  # leaves nothing behind
            return callbacks
        callbacks.append(ResultFiles(results))
        if self.command == "test":
            figure, maps = PredictionFigure(results / "predictions.png"), TestMaps(results / "maps")
            # the record last, as degraded sensors add to the figures that it takes
            return [*callbacks, figure, maps, *degraded, TestRecord(self._followers_of_test)]
        panels: PanelSettings = self.config_init["panels"]
        callbacks += [
            RunRecord(self.folder, self.experiment, [as_typed(word, "fit") for word in self.given_words]),
            ScenarioPanels(panels, self.folder / "panels"),
            MonitorCheck(self.config.monitor),
        ]
        if config.get("enable_checkpointing") is False:
            return callbacks
        monitor, mode = self.config.monitor, self.config.monitor_mode
        # without validations there is a last checkpoint, and no best one
        unknown = config.get("limit_val_batches") == 0 and monitor.startswith("val/")
        return [*callbacks, *run_checkpoints(self.folder / "checkpoints", None if unknown else monitor, mode)]

    def _degraded(self, folder: Path) -> list[Callback]:
        """What degrades sensors in a test, if that is asked for."""
        given, seed = self.config.degrade, self.config.degrade_seed
        if given is None:
            if "--degrade_seed" in given_options(self.given_words):
                raise UserError(f"--degrade_seed {seed} is the seed of --degrade, which is not given; give it, too.")
            return []
        if isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise UserError(f"--degrade_seed is {seed}; give a number from 0 to {2**32 - 1}.")
        return [DegradedTest(folder, chosen_degradations(given, self.model.data.modalities), seed)]

    @property
    def known(self) -> dict[str, Any]:
        """The checkpoint, for commands that cannot do without one."""
        assert self.checkpoint is not None
        return self.checkpoint

    def _logs(self) -> list[MetricsCSV]:
        if self.command != "fit":
            return []
        first_step = self.checkpoint.get("global_step", 0) if self.checkpoint else None
        return [MetricsCSV(self.folder, first_step)]

    def _goes_on(self) -> bool:
        """Whether the run of this folder goes on; from an earlier checkpoint than its last, another one begins."""
        path = self.config.ckpt_path
        # resolved: a run may be named by another path than it was begun with
        return bool(path) and Path(path).resolve() == (self.folder / "checkpoints" / "last.ckpt").resolve()

    def _followers(self, past: list[dict[str, Any]] | None) -> list[Any]:
        return tracking_loggers(self.config.logger, self.config.wandb, self.folder, self.experiment, past)

    def _followers_of_test(self) -> list[Any]:
        """Those that its run has already: a test is a part of what is recorded, and begins no record of its own."""
        begun = {"wandb": RUN_FILE, "tensorboard": EVENTS, "csv": CONFIG_FILE}[self.config.logger]
        return self._followers(read_rows(self.folder / METRICS_FILE)) if (self.folder / begun).exists() else []

    def write_config(self) -> None:
        """Save the resolved configuration in the run folder."""
        if is_first_process():
            config = self.config.clone()
            config.run = config.ckpt_path = None  # of this call, not of the experiment
            for name in SEED_OPTIONS:
                config.pop(name[2:], None)
            config.experiment = self.experiment
            # a run that is begun with this file has no checkpoint to take weights from
            config.model.restored = False
            config.model.class_weights = self.model.hparams["class_weights"]  # numbers, where a word was given
            # in words that mean the same when the run goes on with another strategy
            config.scenarios.validate = named(self.model.evaluation.stages["validation"].scenarios)
            # null is written, too, so that no later default steps in its place
            text = self.parser.dump(config, skip_none=False)
            check_saved(text)
            earlier = run_folder_of(self.config.ckpt_path) if self.config.ckpt_path else None
            if earlier is not None:
                announce_changes(earlier / CONFIG_FILE, text)
            write_text(self.folder / CONFIG_FILE, text)


class _Parsed(MobanetCLI):
    """Parses, and makes nothing of it."""

    def before_instantiate_classes(self) -> None:
        """Leave run folders and backbones alone."""

    def instantiate_classes(self) -> None:
        """Make the data module alone: a model takes long, and its weights may have to be fetched."""
        parser = Parser(prog=self.parser.prog)
        parser.add_class_arguments(RasterDataModule, "data")
        given = {"data": self.config.data.clone()}
        self.datamodule = parser.instantiate(parser.parse_object(given)).data


def parsed_data(words: Sequence[str]) -> RasterDataModule:
    """The data module of a command line of `fit`, all of whose settings are parsed.

    Raises:
        UserError: for settings that are none.
    """
    return _Parsed("fit", words).datamodule


def _asks_for_help(words: Sequence[str]) -> bool:
    options = [word.split("=")[0] for word in words if word.startswith("-")]
    return _asks_for_explanations(words) or "--print_config" in options


def _asks_for_explanations(words: Sequence[str]) -> bool:
    asked = [word.partition("=") for word in words if word.startswith("-")]
    return any(
        option == "-h" or "help" in option or (option == "--print_config" and "comments" in flags)
        for option, _, flags in asked
    )


def _check_writable(folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"results cannot be written to {folder}; give a writable folder with --run DIR.")


def _conflict(option: str, given: Any, saved: Any) -> UserError:
    return UserError(f"--{option} is {given}, but the checkpoint has {saved}; leave the option out.")


_MEASURING = ("scores", "adapt")
_WITHOUT_CHECKPOINT = ("-h", "--help", "--help_all", "--print_config", "--config", "-c")
_NO_CHECKPOINT = "mobanet.{} needs --ckpt_path FILE, such as runs/…/checkpoints/best.ckpt."
