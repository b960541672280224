"""What the commands fit, test, scores and adapt do once their command line is read, and how they end when they fail."""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mobanet.checkpoints.checkpoint import WholeFiles
from mobanet.checkpoints.data_state import DATA_STATE
from mobanet.checkpoints.resumable import check_progress
from mobanet.cli.command_line import MobanetCLI
from mobanet.cli.entry import one_sentence
from mobanet.cli.monitored import check_monitors
from mobanet.cli.option_names import as_typed, with_settings
from mobanet.cli.trainer_checks import check_test_follows, check_trains
from mobanet.data.attached import give_data
from mobanet.errors import AgreedError, UserError
from mobanet.evaluation.adaptation import (
    Comparison,
    adaptation,
    adapted_checkpoint,
    adapted_scenarios,
    check_adaptable,
    check_output,
    recorded,
)
from mobanet.evaluation.batch_statistics import measure_statistics
from mobanet.evaluation.detail_table import ERODED
from mobanet.evaluation.metrics import Scores
from mobanet.lightning_internals import end_child_processes, is_first_process, release_child_processes
from mobanet.models.base import check_unsynced
from mobanet.models.precision import matmul_precision
from mobanet.runs.interrupt import Interrupted
from mobanet.runs.messages import collected, leave_to_first, quieten, told_once, trainer_error, write_log
from mobanet.scenarios.history import write_scores
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scoring import record_table, score_module
from mobanet.scenarios.words import about_scenarios, never_drawn, never_drawn_words
from mobanet.training.class_weights import settle_class_weights


def main(command: str, words: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        command: `fit`, `test`, `scores` or `adapt`.
        words: the command line behind the program's name; None for this process's.
    """
    words = with_settings(sys.argv[1:] if words is None else words, command)
    # or albumentations asks the network for a newer release when it is imported
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    quieten()
    with one_sentence(said=lambda text: as_typed(text, command)), collected() as said, ExitStack() as settings:
        with told_once():
            cli = MobanetCLI(command, words)
            gc.enable()  # off since `mobanet.start`
            _prepare(cli)
        settings.enter_context(matmul_precision(cli.config.float32_matmul_precision))
        try:
            {"fit": _fit, "test": _test, "scores": _scores, "adapt": _adapt}[command](cli, said)
        except Interrupted as end:
            _await_children(cli.trainer)
            rank_zero_info(end.sentence)
            raise
        # whatever ends this process, SystemExit among them, is not to leave other ranks behind
        except BaseException as error:
            if isinstance(error, AgreedError):
                leave_to_first(cli.trainer.global_rank)
            end_child_processes(cli.trainer)  # which would wait for the one that failed
            if isinstance(error, SystemExit) and cli.trainer.interrupted:  # Lightning's way to end on Ctrl-C
                raise KeyboardInterrupt from error
            if isinstance(error, torch.OutOfMemoryError):
                raise UserError(
                    f"the GPU's memory is full ({str(error).split('.')[0]}); lower --data.batch_size and raise "
                    "--trainer.accumulate_grad_batches by the same factor, or set --trainer.precision bf16-mixed."
                ) from error
            if isinstance(error, MisconfigurationException):
                raise trainer_error(error, dict(cli.config_init["trainer"].items())) from error
            if isinstance(error, RuntimeError) and re.match(r"DataLoader worker .* (killed|exited)", str(error)):
                raise UserError(
                    "a process that reads crops was killed, most likely for lack of memory, or of shared memory, of "
                    "which a container has more with --shm-size 2g; lower --data.num_workers (0 reads in the training "
                    "process itself)."
                ) from error
            raise


def _prepare(cli: MobanetCLI) -> None:
    """All that can be known to go wrong, before other processes are started and a run folder is written."""
    settings: ScenarioSettings = cli.config_init["scenarios"]
    if cli.config.checkpoints == "full":
        cli.model.checkpointing.leaves_out = False
    if cli.command == "fit":
        cli.model.bring()  # named by the user, and not by a checkpoint, which the model may be made for
        cli.sampling.check(cli.model.scenarios, cli.model.network)
        cli.model.check_trainable()
        cli.model.check_steps()
        check_trains(cli.trainer, cli.datamodule.steps_per_epoch)
        keeps = cli.config_init["trainer"].get("enable_checkpointing") is not False
        check_test_follows(cli.trainer, keeps, cli.config.monitor)
        check_monitors(cli.trainer, cli.model, settings, cli.config.monitor if keeps else None)
    evaluated = {stage: len(each.scenarios) for stage, each in cli.model.evaluation.stages.items()}
    for line in about_scenarios(cli.model.scenarios, evaluated, settings, cli.command, cli.config.monitor):
        rank_zero_info(line)
    if cli.command == "adapt":
        _prepare_adapting(cli)
    cli.datamodule.prepare_data()
    cli.datamodule.trainer = cli.trainer  # as Lightning will; it says whether there is any validation
    cli.datamodule.setup("test" if cli.command == "test" else "fit")
    if cli.command == "test" and cli.model.evaluation.specialists is not None:
        cli.model.evaluation.specialists.check(cli.datamodule.protocol("test"))
    if cli.command == "test" and cli.model.evaluation.asks_details:
        cli.model.evaluation.asked_details.on(cli.datamodule.tiles("test"), cli.model.data.classes)
        if cli.datamodule.evaluation.labels == "eroded":
            rank_zero_info(f"warning: {ERODED}")
    if cli.command != "fit":
        cli.model.check_checkpoint(cli.checkpoint)
        if cli.command == "test":
            _warn_of_scenarios(cli)
        return
    if cli.checkpoint is not None:
        check_progress(cli.checkpoint, cli.trainer)
        cli.model.check_resumable(cli.checkpoint)
    if cli.initial is not None:
        take_weights(cli, cli.initial)
    settle_class_weights(cli.model, cli.datamodule)
    size, steps = cli.datamodule.batch_size, cli.datamodule.steps_per_epoch
    parts = cli.model.network.modules()
    if size == 1 and any(isinstance(part, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d) for part in parts):
        raise UserError(
            "--data.batch_size is 1, and batch normalisation cannot train on a single sample: set it to 2 or more."
        )
    trainer = cli.config_init["trainer"]
    if trainer.get("sync_batchnorm"):
        check_unsynced(cli.model.network)
    interval = trainer.get("val_check_interval")
    # Lightning says so as well, but only when the run has begun
    if isinstance(interval, int) and interval > steps and trainer.get("check_val_every_n_epoch") is not None:
        raise UserError(
            f"--trainer.val_check_interval is {interval}, more than the {steps} steps of an epoch; give at most "
            f"{steps}, or set --trainer.check_val_every_n_epoch null."
        )


def _prepare_adapting(cli: MobanetCLI) -> None:
    """What can be known of an adaptation before the data is looked at."""
    if (count := cli.config.windows) < 2:
        raise UserError(f"--windows is {count}; give a number of at least 2.")
    check_adaptable(cli.model.network, cli.known, cli.model.settings.architecture, cli.datamodule.batch_size)
    check_output(_adapted_path(cli), Path(cli.config.ckpt_path))
    cli.model.compile_network = False  # what is compiled has no batch statistics to look at
    if cli.datamodule.validation == "test":
        rank_zero_info(
            "warning: --data.validation is test: what is kept is chosen on the test tiles, whose figures are too high"
        )


def _adapted_path(cli: MobanetCLI) -> Path:
    if cli.exported is not None and not cli.config.output:
        raise UserError(
            f"--ckpt_path {cli.config.ckpt_path} is an exported model, and what mobanet.adapt writes is a checkpoint; "
            "name it with --output FILE.ckpt."
        )
    return Path(cli.config.output or Path(cli.config.ckpt_path).with_name("adapted.ckpt"))


def _warn_of_scenarios(cli: MobanetCLI) -> None:
    """Say which of the tested scenarios the model was not trained in, and to which it was adapted since."""
    tested, modalities = cli.model.evaluation.stages["test"].scenarios, [m.name for m in cli.model.data.modalities]
    if record := adaptation(cli.known):
        rank_zero_info(f"adapted     {record.described}")
    never, adapted = never_drawn(cli.known["state_dict"], modalities), adapted_scenarios(cli.known)
    if words := never_drawn_words([scenario.name for scenario in tested], never, modalities, adapted):
        rank_zero_info(words)


def _fit(cli: MobanetCLI, said: MemoryHandler) -> None:
    leaves = not cli.config_init["trainer"].get("fast_dev_run")
    path = cli.config.ckpt_path
    if leaves and is_first_process():
        cli.write_config()
        write_log(said, cli.folder)
    begun = cli.checkpoint.get("global_step") if cli.checkpoint else None
    cli.checkpoint = None  # Lightning reads it once more
    with cli.interrupts.caught():
        # weights_only: a checkpoint is data, and runs no code as it is read
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=path, weights_only=True)
    if begun is not None and cli.trainer.global_step == begun:
        rank_zero_info(
            f"nothing was left to train: {path} has reached --trainer.max_epochs {cli.trainer.max_epochs} or "
            f"--trainer.max_steps {cli.trainer.max_steps}; raise it to go on"
        )
    if leaves:
        rank_zero_info(f"the run is in {cli.folder}")


def _test(cli: MobanetCLI, said: MemoryHandler) -> None:
    path = cli.config.ckpt_path
    if cli.exported is not None:  # of which Lightning knows nothing
        take_weights(cli, cli.known)
        path = None
    cli.checkpoint = None
    # not verbose: our own tables are printed
    cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=path, weights_only=True, verbose=False)


def _scores(cli: MobanetCLI, said: MemoryHandler) -> None:
    settings: ScenarioSettings = cli.config_init["scenarios"]
    trainer, module = cli.trainer, cli.model
    take_weights(cli, cli.known)
    _onto_device(cli)
    record, scores = score_module(trainer, module, settings, cli.known["epoch"])
    path = Path(cli.config.output or (cli.folder / "scenario_scores.json"))
    write_scores(path, record, scores, str(cli.config.ckpt_path))
    rank_zero_info(record_table(record))
    rank_zero_info(f"distortion, scores and probabilities are in {path}")


def _onto_device(cli: MobanetCLI) -> None:
    """Have the model where the trainer would, outside its verbs."""
    trainer, module = cli.trainer, cli.model
    give_data(trainer, cli.datamodule)
    # or batches are not handed to the module's hooks on their way to the device
    trainer.strategy.connect(module)
    trainer.precision_plugin.convert_module(module)
    module.to(trainer.strategy.root_device)


def _adapt(cli: MobanetCLI, said: MemoryHandler) -> None:
    module, data, trainer, checkpoint = cli.model, cli.datamodule, cli.trainer, cli.known
    path, incomplete = Path(cli.config.ckpt_path), [s for s in module.scenarios if not s.full]
    take_weights(cli, checkpoint)
    before = _validated(cli)
    _onto_device(cli)
    windows = data.probe_windows()
    taken = min(cli.config.windows, len(windows))
    rank_zero_info(f"statistics  of {len(incomplete)} scenarios, from {taken} training windows each")
    # in the precision that a validation has, since statistics depend on it
    with trainer.precision_plugin.val_step_context():
        statistics = measure_statistics(
            module.network, incomplete, windows, taken, data.batch_size, trainer.strategy.batch_to_device
        )
    if statistics.scenarios:
        statistics.give_to(module.network)
    # measured anew: own statistics are not better in every scenario
    comparison = Comparison(before, _validated(cli), module.evaluation.failures)
    rank_zero_info(comparison.table())
    never = never_drawn(checkpoint["state_dict"], [m.name for m in module.data.modalities])
    comparison.check_gain(trained_full=len(never) == len(incomplete))
    facts = {"seed": data.seed, "batch_size": data.batch_size, "validation": data.protocol("validation")["data"]}
    record = recorded(comparison, statistics, checkpoint=path.name, **facts)
    kept, names = statistics.of(record.kept), [scenario.name for scenario in module.scenarios]
    content = adapted_checkpoint(checkpoint, kept, record, module.known_temperatures, names)
    WholeFiles().save_checkpoint(content, _adapted_path(cli))
    rank_zero_info(f"{record.described}: {_adapted_path(cli)}")


def _validated(cli: MobanetCLI) -> dict[str, Scores]:
    """Figures of the validation tiles by scenario."""
    cli.trainer.validate(cli.model, datamodule=cli.datamodule, verbose=False)
    return dict(cli.model.scores["validation"])


def take_weights(cli: MobanetCLI, checkpoint: dict[str, Any]) -> None:
    """Weights and the numbers that inputs are scaled by, and nothing else of a run."""
    cli.model.begin_from(checkpoint)
    state = checkpoint.get(DATA_STATE)
    if not isinstance(state, dict):
        raise UserError("the checkpoint does not say how its inputs are scaled; give one that mobanet.fit wrote.")
    cli.datamodule.load_state_dict(state)


def _await_children(trainer: Trainer) -> None:
    """The processes of a distributed run that was interrupted end by themselves, a little after this one at most."""
    for process in release_child_processes(trainer):
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
