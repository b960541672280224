"""What Optuna decides in a local sweep: the values of the next trial, and whether one is ended early.

Nothing is kept beside the folders of trials: a study is made anew of them for each trial, so that a sweep goes on as if
it had not been stopped, and its processes learn from each other's trials.
"""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobanet.errors import UserError
from mobanet.reporting.logged import read_curves
from mobanet.trials.draws import bounded_value, drawn_between, drawn_for
from mobanet.trials.parameters import Parameter
from mobanet.trials.sweep_file import Sweep
from mobanet.trials.sweep_folder import SweepPlan, records
from mobanet.trials.trial import METRICS_FILE, Record

if TYPE_CHECKING:
    from optuna.trial import Trial


def check_optuna(what: str, instead: str) -> None:
    """Refuse what needs Optuna where that is not installed; `instead` is what else to do."""
    if find_spec("optuna") is None:
        raise UserError(f"{what} needs Optuna; install it with pip install 'mobanet[optuna]', or {instead}.")


def check_searchable(parameters: Sequence[Parameter], where: str) -> None:
    """Refuse parameters that a search cannot propose."""
    for parameter in parameters:
        kind = parameter.distribution.removeprefix("q_")
        if parameter.probabilities or kind in ("normal", "log_normal", "beta"):
            what = "probabilities" if parameter.probabilities else f"the distribution {parameter.distribution}"
            raise UserError(
                f"{where}: parameters.{parameter.name} has {what}, which bayes does not search; give values, or min "
                "and max, or --method random."
            )


def fits(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> bool:
    """Whether parameters can have such values, and a sweep that came to nothing has not left them in the folder."""
    return all(p.name in values and _choice(p, values[p.name]) is not None for p in parameters)


class Search:
    """A study of a sweep's other trials, and one further trial.

    Args:
        sweep: that is run.
        plan: of it.
        folder: of the sweep.
        number: of the trial.
        values: of its parameters; None to have them proposed, by seed and number of the trial and by what the others
            have come to.
    """

    def __init__(
        self, sweep: Sweep, plan: SweepPlan, folder: Path, number: int, values: Mapping[str, Any] | None
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._metric, self._parameters = sweep.metric, sweep.parameters if plan.method == "bayes" else ()
        # by trial, since a sampler made anew would draw the same for each of them
        seed = int(np.random.SeedSequence((plan.seed, number)).generate_state(1)[0])  # samplers take one number
        self._early = early = sweep.early_terminate
        sampler, pruners = optuna.samplers.TPESampler(seed=seed), optuna.pruners
        # W&B's brackets are rungs that every trial climbs: what Optuna calls Hyperband begins trials at several
        pruner = pruners.SuccessiveHalvingPruner(early.first, early.factor) if early else pruners.NopPruner()
        self._study = optuna.create_study(direction=sweep.metric.goal, sampler=sampler, pruner=pruner)
        for other, record in records(folder).items():
            # in the order of their numbers, so that the same folders make the same study
            if other != number and fits(self._parameters, record.trial.parameters):
                self._replay(record)
        self._trial = self._ask(values)
        self.values = _proposed(self._parameters, self._trial)
        self._seen = 0

    def hopeless(self, folder: Path) -> bool:
        """Whether the trial is to be ended, by what its folder has logged of late."""
        values = self._logged(folder, running=True)
        # Optuna warns of a step that is reported twice
        before, self._seen = self._seen, max(self._seen, len(values))
        return self._report(self._trial, values, before)

    def _logged(self, folder: Path, running: bool) -> Sequence[float]:
        try:
            curve = read_curves(folder / METRICS_FILE).get(self._metric.name)
        except UserError:
            if running:  # a row is being written
                return ()
            raise
        return curve.values if curve else ()

    def _report(self, trial: "Trial", values: Sequence[float], before: int = 0) -> bool:
        """Report values behind those known before, to that which the trial is to be ended at; whether there is one."""
        most = self._early.most if self._early else None
        # by how many values were logged, as W&B counts iterations, whatever the epochs
        for number, value in enumerate(values[before:most], start=before + 1):
            trial.report(value, number)
            if trial.should_prune():
                return True
        return False

    def _ask(self, values: Mapping[str, Any] | None) -> "Trial":
        if values is not None:
            # the way to have Optuna ask for given values; suggest_… below then returns these
            self._study.enqueue_trial({p.name: _choice(p, values[p.name]) for p in self._parameters})
        return self._study.ask()

    def _replay(self, record: Record) -> None:
        """Tell the study of another trial."""
        from optuna.trial import TrialState

        outcome, trial = record.outcome, self._ask(record.trial.parameters)
        # which registers the parameters' ranges with the trial, as the sampler needs them
        _proposed(self._parameters, trial)
        if self._early:
            self._report(trial, self._logged(record.trial.folder, outcome.status == "running"))
        if outcome.status == "finished":
            self._study.tell(trial, outcome.best)
        elif outcome.status in ("ended", "failed"):
            self._study.tell(trial, state=TrialState.PRUNED if outcome.status == "ended" else TrialState.FAIL)


def _proposed(parameters: Sequence[Parameter], trial: "Trial") -> dict[str, Any]:
    return {parameter.name: _value(parameter, trial) for parameter in parameters}


def _value(parameter: Parameter, trial: "Trial") -> Any:
    name, kind = parameter.name, parameter.distribution
    if kind in ("constant", "categorical"):  # by place, since values may be lists
        return parameter.values[trial.suggest_categorical(name, range(len(parameter.values)))]
    if kind == "int_uniform":
        return trial.suggest_int(name, int(parameter.low), int(parameter.high))
    return bounded_value(parameter, trial.suggest_float(name, *drawn_between(parameter)))


def _choice(parameter: Parameter, value: Any) -> Any:
    """What Optuna has chosen where a parameter has a value; None for a value that it cannot have."""
    if parameter.distribution in ("constant", "categorical"):
        known, text = [json.dumps(each) for each in parameter.values], json.dumps(value)  # True is not 1
        return known.index(text) if text in known else None
    if parameter.distribution == "int_uniform":
        # True is an int to isinstance
        return value if type(value) is int and parameter.low <= value <= parameter.high else None
    if type(value) not in (int, float):  # such as a text, of a sweep that had a list of values
        return None
    number = drawn_for(parameter, value)
    # logarithm and exponential cost the last digits
    return number if math.isclose(bounded_value(parameter, number), value, abs_tol=1e-12) else None
