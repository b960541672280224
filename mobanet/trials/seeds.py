"""`mobanet.fit --seeds 0,1,2 --test`: the same run with several seeds, tested, with means and deviations."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mobanet.cli.experiments import resolve
from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.plain.command_words import given_options, take, take_flag
from mobanet.runs.folder import TEST_VARIABLE, choose_run_folder
from mobanet.trials.files import write_json
from mobanet.trials.process import Commands, Ended
from mobanet.trials.seed_figures import read_test, read_validation, results_of
from mobanet.trials.seed_files import seeds_csv, seeds_json
from mobanet.trials.seed_tables import scenarios_text, validation_text
from mobanet.trials.trial import Trial, TrialOutcome, fit_command, only_here, run_trial


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        seeds: at least two; None for a single run with the seed of its configuration.
        test: whether the best checkpoints are tested.
        words: for `mobanet.fit`, less these options and `--run`.
        folder: of the run; of several seeds, the one above theirs.
    """

    seeds: tuple[int, ...] | None
    test: bool
    words: tuple[str, ...]
    folder: Path


def fit_seeds(words: Sequence[str]) -> None:
    """Fit, each seed as a process of its own, test what came of it, and show means and deviations.

    What is finished is not repeated and what was interrupted goes on, where `--run` names the folder of then.

    Args:
        words: command line of `mobanet.fit` with `--seeds 0,1,2` or `--test`, or both.

    Raises:
        UserError: for options that contradict each other, or a folder with another run.
        SystemExit: with a sentence and the exit code of a run or test that failed or was interrupted.
    """
    request = read_request(words)
    elsewhere = []
    with Commands() as commands:
        for seed in request.seeds or (None,):
            trial = _trial(request, seed)
            with only_here(trial.folder) as mine:
                if not mine:
                    elsewhere.append(str(trial.folder))
                    continue
                _run(request, trial, commands)
            if commands.stop:
                _stopped(request, commands.stop)
    if elsewhere:
        print(f"{', '.join(elsewhere)}: another process is at work there; the figures follow when all are done")
    elif request.seeds is not None:
        conclude(request.folder, request.seeds, request.test)


def read_request(words: Sequence[str]) -> Request:
    """What a command line asks for; options that contradict each other or the environment are refused."""
    for name in ("WORLD_SIZE", "SLURM_NTASKS"):
        if (count := os.environ.get(name, "1")).isdecimal() and int(count) > 1:
            raise UserError(
                f"--seeds and --test start processes of their own, and a launcher has started {count} ({name}); let "
                "Lightning start them with --trainer.devices N, or run each seed by itself."
            )
    given, rest = take(words, "--seeds")
    test, rest = take_flag(rest, "--test")
    seeds = None if given is None else read_seeds(given)
    # with --test alone there is one run, which may have either
    for option in ("--seed_everything", "--ckpt_path") if seeds else ():
        if option in given_options(rest):
            what = "sets the seed" if option == "--seed_everything" else "goes on with one run"
            raise UserError(f"{option} {what} and --seeds begins several; give one of them.")
    if "--trainer.fast_dev_run" in given_options(rest):
        raise UserError(
            "--trainer.fast_dev_run leaves no run to test or compare; try the command without --seeds and --test."
        )
    # taken out, as each seed gets a folder of its own
    run, rest = take(rest, "--run")
    # looked at only: a run that goes on gets it
    checkpoint, _ = take(rest, "--ckpt_path")
    folder = choose_run_folder(run, resolve(rest).experiment, checkpoint)
    return Request(seeds, test, tuple(rest), folder)


def read_seeds(text: str) -> tuple[int, ...]:
    """`0,1,2` or `[0, 1, 2]` as numbers.

    Raises:
        UserError: for anything but at least two distinct seeds.
    """
    numbers = [word.strip() for word in re.sub(r"^\[(.*)\]$", r"\1", text.strip()).split(",")]
    # numpy's and Lightning's bound of a seed
    wrong = [word for word in numbers if not word.isdecimal() or int(word) >= 2**32]
    if wrong:
        raise UserError(f"--seeds holds {wrong[0] or 'nothing'}; give numbers from 0 to {2**32 - 1}, such as 0,1,2.")
    seeds = tuple(map(int, numbers))
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text} names a seed twice; give each once.")
    if len(seeds) < 2:
        raise UserError(f"--seeds {text} is a single seed; give at least two, or --seed_everything {seeds[0]}.")
    return seeds


def conclude(folder: Path, seeds: Sequence[int], tested: bool) -> None:
    """Print means and deviations over the runs `seed_N` of a folder, and write them to `seeds.csv` and `seeds.json`."""
    folders = {seed: folder / f"seed_{seed}" for seed in seeds}
    validation = read_validation(folders)
    test = read_test(folders) if tested else None
    write_text(folder / "seeds.csv", seeds_csv(seeds, validation, test))
    write_json(folder / "seeds.json", seeds_json(seeds, validation, test))
    width = shutil.get_terminal_size((120, 24)).columns
    print(validation_text(seeds, validation, width))
    if test is not None:
        print(scenarios_text(seeds, test, width))
    print(f"\nthe figures of every seed are in {folder / 'seeds.csv'} and {folder / 'seeds.json'}", flush=True)


def _trial(request: Request, seed: int | None) -> Trial:
    if seed is None:
        return Trial(request.folder, request.words)
    # last, so that it wins over a configuration
    words = (*request.words, "--seed_everything", str(seed))
    return Trial(request.folder / f"seed_{seed}", words, {"seed_everything": seed})


def _run(request: Request, trial: Trial, commands: Commands) -> None:
    """Fit and test, as far as that is not done."""
    # told beforehand: fit refuses settings that leave no best.ckpt to test, before it trains
    variables = {TEST_VARIABLE: "1"} if request.test else {}
    if request.seeds is not None:
        print(f"\nseed {trial.parameters['seed_everything']}: {trial.folder}", flush=True)
        # the user's own group wins
        if "WANDB_RUN_GROUP" not in os.environ:
            variables["WANDB_RUN_GROUP"] = str(request.folder)
    outcome = run_trial(trial, commands, variables=variables)
    if outcome.status == "failed":
        _fail(trial.folder, outcome)
    checkpoint = trial.folder / "checkpoints" / "best.ckpt"
    if not request.test or outcome.status != "finished" or commands.stop or _is_tested(trial.folder, checkpoint):
        return
    ended = commands.run("mobanet.test", ["--ckpt_path", str(checkpoint)], variables)
    if ended.code and not ended.interrupted:
        _fail(trial.folder, ended)


def _is_tested(folder: Path, checkpoint: Path) -> bool:
    results = results_of(folder)
    # by their times: a run that went on has another best checkpoint than the one that was tested
    return results is not None and checkpoint.is_file() and results.stat().st_mtime > checkpoint.stat().st_mtime


def _fail(folder: Path, how: TrialOutcome | Ended) -> NoReturn:
    told, code = (how.told, how.code) if isinstance(how, Ended) else (how.error, how.code)
    print(f"error: {folder} has failed: {told}.", file=sys.stderr, flush=True)
    sys.exit(code)


def _stopped(request: Request, code: int) -> NoReturn:
    asked = ["--seeds", ",".join(map(str, request.seeds))] if request.seeds else []
    asked += ["--test"] if request.test else []
    again = fit_command([*request.words, *asked, "--run", str(request.folder)])
    print(f"stopped in {request.folder}; go on with: {again}", file=sys.stderr, flush=True)
    sys.exit(code)
