"""Sweep files of Weights & Biases: read, and refused by one sentence where something is wrong."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from mobanet.errors import UserError
from mobanet.plain.wording import did_you_mean
from mobanet.plain.yaml_files import read_yaml
from mobanet.shipped import experiment_folder
from mobanet.trials.arguments import check_macros, expand, fit_words
from mobanet.trials.metric import Goal, Metric
from mobanet.trials.parameters import Parameter, read_parameter

# of W&B's keys those that are applied here: others would change what is run, and are refused rather than passed over
_KEYS = (
    "program",
    "command",
    "method",
    "metric",
    "parameters",
    "name",
    "description",
    "project",
    "entity",
    "run_cap",
    "early_terminate",
)
_METHODS = ("grid", "random", "bayes")


@dataclass(frozen=True)
class EarlyEnd:
    """When a trial is compared with the others, to go on if it is among the best: Hyperband, as W&B has it.

    Attributes:
        first: number of values of the metric that a trial has logged by the first comparison.
        factor: eta, by which this number grows from one comparison to the next; one trial in as many goes on.
        most: number of values after which there is no further comparison; None where it is not known.
    """

    first: int
    factor: int
    most: int | None = None


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes:
        path: of the file.
        name: as it says, or the file's own.
        metric: that trials are compared by.
        parameters: in the order of the file.
        command: words of which some stand for others; runs `mobanet.fit`.
        program: what `${program}` stands for.
        run_cap: most trials; None for any number.
        project: of W&B, as `entity`; None for the usual one.
        early_terminate: when trials are ended early; None for never.
    """

    path: Path
    name: str
    method: str
    metric: Metric
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    program: str | None = None
    run_cap: int | None = None
    project: str | None = None
    entity: str | None = None
    early_terminate: EarlyEnd | None = None


def sweep_names() -> list[str]:
    """Names of the sweeps that come with the package."""
    return sorted(path.stem for path in (experiment_folder() / "sweeps").glob("*.yaml"))


def find_sweep(name: str) -> Path:
    """The YAML file of a sweep, by the name of a shipped one or a path; errors list the known ones."""
    path, names = Path(name), sweep_names()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"FILE {name} does not exist; give an existing YAML file or one of {', '.join(names)}.")
        return path
    if name in names:
        return experiment_folder() / "sweeps" / f"{name}.yaml"
    hint = did_you_mean(name, names, cutoff=0.4)
    raise UserError(f"FILE {name} is unknown{hint}: choose from {', '.join(names)}, or give the path of a YAML file.")


def read_sweep(path: Path) -> Sweep:
    """What a sweep file says; errors name the file, the key, and what is wrong with it."""
    content, where = read_content(path), str(path)
    for key in content:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            raise UserError(f"{where}: {key} is not a key of a sweep{hint}: give {', '.join(_KEYS)}.")
    method, cap, given = content.get("method"), content.get("run_cap"), content.get("parameters")
    if method not in _METHODS:
        raise UserError(f"{where}: the method is {method}; choose one of {', '.join(_METHODS)}.")
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
        raise UserError(f"{where}: run_cap is {cap}; give a number of at least 1.")
    if not isinstance(given, dict) or not given:
        raise UserError(f"{where} has no parameters; give some, such as model.lr: {{values: [1.0e-4, 2.0e-4]}}.")
    for key in ("name", "description", "project", "entity", "program"):
        if content.get(key) is not None and not isinstance(content[key], str):
            raise UserError(f"{where}: {key} is {content[key]}; give text.")
    sweep = Sweep(
        path=path,
        name=content.get("name") or path.stem,
        method=method,
        metric=_metric(content.get("metric"), where),
        parameters=tuple(read_parameter(name, each, where) for name, each in given.items()),
        command=_command(content.get("command"), where),
        program=content.get("program"),
        run_cap=cap,
        project=content.get("project"),
        entity=content.get("entity"),
        early_terminate=_early_end(content.get("early_terminate"), where),
    )
    # with no parameters: whether the command runs mobanet.fit is known before any trial
    fit_words(expand(sweep.command, {}, sweep.program), where)
    return sweep


def read_content(path: Path) -> dict[Any, Any]:
    """The mapping that a sweep file holds, not looked at any further."""
    content = read_yaml(path, "a YAML file")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no sweep; give method, metric, parameters and command.")
    return content


def _metric(content: Any, where: str) -> Metric:
    if content is None:
        raise UserError(f"{where} names no metric; give one such as metric: {{name: val/miou, goal: maximize}}.")
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise UserError(f"{where}: the metric is {content}; give {{name: val/miou, goal: maximize}}.")
    if extra := [str(key) for key in content if key not in ("name", "goal")]:
        raise UserError(f"{where}: metric.{extra[0]} is not applied here; give name and goal alone.")
    goal = content.get("goal", "minimize")  # W&B's default
    if goal not in get_args(Goal):
        raise UserError(f"{where}: metric.goal is {goal}; choose one of {', '.join(get_args(Goal))}.")
    return Metric(content["name"], goal)


def _early_end(content: Any, where: str) -> EarlyEnd | None:
    if content is None:
        return None
    where = f"{where}: early_terminate"
    if not isinstance(content, dict) or content.get("type") != "hyperband":
        raise UserError(f"{where} is {content}; give {{type: hyperband, min_iter: 3}}.")
    if extra := [str(key) for key in content if key not in ("type", "min_iter", "max_iter", "s", "eta")]:
        raise UserError(f"{where}.{extra[0]} is not applied here; give min_iter, or max_iter and s, and eta.")
    given = {key: content[key] for key in ("min_iter", "max_iter", "s", "eta") if key in content}
    for key, value in given.items():
        least = 2 if key == "eta" else 1
        # True is an int to isinstance
        if type(value) is not int or value < least:
            raise UserError(f"{where}.{key} is {value}; give a whole number of at least {least}.")
    eta = given.pop("eta", 3)  # W&B's default
    if given.keys() == {"min_iter"}:
        return EarlyEnd(given["min_iter"], eta)
    if given.keys() != {"max_iter", "s"}:
        raise UserError(f"{where} has {' and '.join(given) or 'no iterations'}; give min_iter, or max_iter and s.")
    # W&B's brackets are max_iter / eta down to max_iter / eta^s; at max_iter itself there is nothing left to end
    first = given["max_iter"] // eta ** given["s"]
    if not first:
        raise UserError(f"{where}: max_iter {given['max_iter']} has less than {given['s']} brackets; lower s.")
    return EarlyEnd(first, eta, given["max_iter"] - 1)


def _command(content: Any, where: str) -> tuple[str, ...]:
    if not content:
        raise UserError(
            f'{where} has no command; give ["${{env}}", "${{interpreter}}", "-m", "mobanet.fit", "--experiment", '
            '"NAME", "${args}"].'
        )
    if not isinstance(content, list) or any(isinstance(word, list | dict) or word is None for word in content):
        raise UserError(f"{where}: the command is {content}; give a list of words.")
    check_macros(content, where)
    # the other two macros of parameters are no options of mobanet.fit
    if not any(word in ("${args}", "${args_no_boolean_flags}") for word in content):
        raise UserError(f'{where}: the command holds no "${{args}}", so that all trials would be alike; add it.')
    return tuple(map(str, content))
