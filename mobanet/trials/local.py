"""A sweep on this machine: its trials one after the other, shared out among the processes that run the same command."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from mobanet.errors import DIVERGED, UserError
from mobanet.trials.arguments import expand, fit_words
from mobanet.trials.draws import draw, grid, grid_size
from mobanet.trials.process import Commands
from mobanet.trials.search import Search, check_optuna, check_searchable, fits
from mobanet.trials.sweep_file import Sweep
from mobanet.trials.sweep_folder import RESULTS_FILE, SweepPlan, begin, records, trial_folder, write_results
from mobanet.trials.sweep_table import best_first, plain, sweep_table
from mobanet.trials.trial import DONE, Trial, TrialOutcome, fit_command, only_here, read_record, run_trial

_ENDLESS = {"random": "random draws never end", "bayes": "a search never ends"}


def planned(sweep: Sweep, method: str | None, seed: int, count: int | None, words: tuple[str, ...]) -> SweepPlan:
    """How many trials of which kind; `method` and `count` take the place of what the sweep's file says.

    Raises:
        UserError: where the number of trials is open, or Optuna is missing or cannot do what is asked for.
    """
    method, most = method or sweep.method, count or sweep.run_cap
    if sweep.early_terminate:
        check_optuna(f"{sweep.path}: early_terminate", "take it out to run every trial to its end")
    if method == "bayes":
        check_optuna(f"{sweep.path}: the method bayes", "give --method random")
        check_searchable(sweep.parameters, str(sweep.path))
    if method == "grid":
        size = grid_size(sweep.parameters, str(sweep.path))
        return SweepPlan(method, seed, min(size, most or size), words)
    if most is None:
        raise UserError(f"{sweep.path} names no run_cap, and {_ENDLESS[method]}; give --trials N.")
    return SweepPlan(method, seed, most, words)


def run_sweep(sweep: Sweep, plan: SweepPlan, folder: Path, again: str) -> None:
    """Run what is not finished, then show what came of all of it.

    Args:
        sweep: what to run.
        plan: how much of it.
        folder: of the sweep.
        again: the command that goes on with it, for people.

    Raises:
        UserError: where the first trial fails, so that all would; or the folder holds another sweep.
        SystemExit: with the exit code of a trial that was interrupted.
    """
    begin(folder, sweep, plan)
    elsewhere = 0
    with Commands() as commands:
        for number, values in enumerate(_values(sweep, plan), start=1):
            # processes take turns by locks alone: none has to know of the others
            with only_here(trial_folder(folder, number)) as mine:
                ran = _run(sweep, plan, folder, number, values, commands) if mine else None
            elsewhere += ran is None
            if ran is not None:
                # after each trial, so that a sweep can be looked at while it runs
                write_results(folder, sweep)
                _judge(number, *ran, folder)
            # behind the results: what was done by then is in the table
            if commands.stop:
                print(f"the sweep has stopped in trial {number}; go on with: {again}", file=sys.stderr, flush=True)
                sys.exit(commands.stop)
    conclude(sweep, folder, elsewhere)


def conclude(sweep: Sweep, folder: Path, elsewhere: int) -> None:
    """Print the table, the best trial's command, where the figures are, and how many trials are run elsewhere."""
    # once more, as other processes may have ended trials since
    found = write_results(folder, sweep)
    if found:
        varied = [parameter.name for parameter in sweep.parameters if parameter.distribution != "constant"]
        print(sweep_table(found, sweep.metric, varied, shutil.get_terminal_size((120, 24)).columns))
        best = next(iter(best_first(found, sweep.metric).values()))
        if best.outcome.status == "finished":
            print(f"\nthe best of them again: {fit_command(best.trial.words)}")
    states = [record.outcome.status for record in found.values()]
    told = [f"{states.count('finished')} finished", f"{states.count('failed')} failed"]
    told += [f"{states.count('ended')} ended early"] if "ended" in states else []
    told += [f"{elsewhere} run by other processes"] if elsewhere else []
    print(f"\n{', '.join(told)}; the figures of all trials are in {folder / RESULTS_FILE}", flush=True)


def _run(
    sweep: Sweep, plan: SweepPlan, folder: Path, number: int, values: dict[str, Any] | None, commands: Commands
) -> tuple[Trial, TrialOutcome]:
    """Run a trial whose folder is held; without values, on those that it has begun with, or else proposed ones."""
    record, search = read_record(trial_folder(folder, number)), None
    # a trial that was begun goes on with what it began with: proposed anew, its folder would refuse it
    if values is None and record is not None and fits(sweep.parameters, record.trial.parameters):
        values = dict(record.trial.parameters)
    done = record is not None and record.outcome.status in DONE
    # a study is made of all folders anew: only where values or an early end are asked of it
    if values is None or (sweep.early_terminate and not done):
        search = Search(sweep, plan, folder, number, values)
        values = search.values if values is None else values
    words = fit_words(expand(sweep.command, values, sweep.program), str(sweep.path))
    # the command line's behind the file's, as the last of two settings counts
    trial = Trial(trial_folder(folder, number), (*words, *plan.words), values)
    if not done:
        print(f"\ntrial {number} of {plan.count}: {_described(values)}", flush=True)
    hopeless = search.hopeless if search and sweep.early_terminate else None
    return trial, run_trial(trial, commands, sweep.metric, _variables(sweep), hopeless)


def _values(sweep: Sweep, plan: SweepPlan) -> Iterator[dict[str, Any] | None]:
    """Of every trial, in their order; None where they depend on what others have come to."""
    if plan.method == "bayes":
        return repeat(None, plan.count)
    if plan.method == "grid":
        return islice(grid(sweep.parameters, str(sweep.path)), plan.count)
    return (draw(sweep.parameters, plan.seed, number) for number in range(1, plan.count + 1))


def _judge(number: int, trial: Trial, outcome: TrialOutcome, folder: Path) -> None:
    """Where no trial has ever finished, a failure is the command's, and the others would fail as well.

    Unless it is that of its own settings, such as a learning rate that training diverges at.
    """
    if outcome.status == "ended":
        print(f"trial {number} has been ended early: others were better by then", flush=True)
    if outcome.status != "failed":
        return
    finished = any(record.outcome.status == "finished" for record in records(folder).values())
    if not finished and not (outcome.error or "").startswith(DIVERGED):
        raise UserError(f"{trial.folder} has failed before any other trial has finished: {outcome.error}.")
    print(f"trial {number} has failed: {outcome.error}", file=sys.stderr, flush=True)


def _variables(sweep: Sweep) -> dict[str, str]:
    """W&B shows the runs of a group together; what is set already wins."""
    given = {"WANDB_RUN_GROUP": sweep.name, "WANDB_PROJECT": sweep.project, "WANDB_ENTITY": sweep.entity}
    return {name: value for name, value in given.items() if value and name not in os.environ}


def _described(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {plain(value)}" for name, value in parameters.items())
