"""A run in Weights & Biases that goes on where an interrupted job's left off."""

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mobanet.errors import UserError
from mobanet.files import write_text
from mobanet.lightning_internals import without_anonymous
from mobanet.plain.json_files import read_json
from mobanet.plain.schema import check_value

RUN_FILE = "wandb_run.json"
"""In a run folder: which tracked run it belongs to."""

TEST_TABLE = "test/scenarios/table"

_WORD = re.compile(r"\w[\w. -]{0,200}")
"""Of what names a run: it goes into the name of a folder and of an address."""

# Lightning's name, which its logger makes the horizontal axis of all charts (`define_metric`)
_STEP = "trainer/global_step"


@dataclass(frozen=True)
class TrackedRun:
    """Where a run is tracked.

    Attributes:
        id: of the run, unique within the project.
        project: of Weights & Biases.
        entity: user or team; None for the default one.
    """

    id: str
    project: str
    entity: str | None = None


def read_tracked(folder: Path) -> TrackedRun | None:
    """The tracked run that a run folder belongs to; None where it belongs to none.

    Raises:
        UserError: when the file that says so is damaged.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        check_value(content, TrackedRun, RUN_FILE)
        # a folder may come from anybody
        if not all(_WORD.fullmatch(value) for value in content.values() if value is not None):
            raise ValueError("a name that is no word")
        return TrackedRun(**content)
    except ValueError as error:
        raise UserError(f"{path} does not name a tracked run; remove it to begin a new one.") from error


def write_tracked(folder: Path, run: TrackedRun) -> None:
    """Keep which tracked run a folder belongs to."""
    write_text(folder / RUN_FILE, json.dumps(asdict(run)) + "\n")


class WandbRun(WandbLogger):
    """Lightning's logger with the optimiser's step as the step of each row.

    So a resumed job writes its rows where they belong. It begins with the rows of its past, out of `metrics.csv`: a
    killed job's last ones may never have reached the record, and an offline record is whole by itself then.

    Args:
        past: rows that `metrics.csv` has of the run so far.
        arguments: of `WandbLogger`.
    """

    def __init__(self, past: Sequence[Mapping[str, Any]], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._past = list(past)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of Weights & Biases, begun when it is first asked for.

        Raises:
            UserError: when its server does not let it begin.
        """
        from wandb.errors import Error

        try:
            return super().experiment
        except Error as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(
                f"Weights & Biases cannot begin a run ({reason}); mend that, or use --wandb offline."
            ) from error

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add values to the row of a step."""
        self._replay()
        self.experiment.log(dict(metrics) if step is None else {**metrics, _STEP: step}, step=step)

    @rank_zero_only
    def log_test(self, figures: Mapping[str, float], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Put a test's figures and its table of scenarios into the run's summary; they belong to no step."""
        import wandb

        self._replay()
        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self.experiment.summary.update({**figures, TEST_TABLE: table})

    def _replay(self) -> None:
        past, self._past = self._past, []
        known = self.experiment.step if past else 0  # of an online run, what the server has
        for row in past:
            # rows of earlier steps than its last one it drops, with a warning each
            if row["step"] >= known:
                self.log_metrics({key: value for key, value in row.items() if key != "step"}, row["step"])


def wandb_logger(folder: Path, experiment: str, offline: bool, past: Sequence[Mapping[str, Any]] | None) -> WandbRun:
    """The logger of a run folder.

    A sweep's agent says which run its job is (WANDB_RUN_ID); otherwise a continued folder's run goes on, and a new one
    gets a name of its own. WANDB_PROJECT and WANDB_ENTITY say where new runs go.

    Args:
        folder: of the run; holds the offline record.
        experiment: names the run.
        offline: whether nothing is sent.
        past: rows that `metrics.csv` has of the folder's run, which goes on; None where a new one begins.

    Raises:
        UserError: when the file that says which tracked run the folder belongs to is damaged.
    """
    given, run = os.environ.get("WANDB_RUN_ID"), read_tracked(folder) if past is not None else None
    # a sweep's agent names the run of its job, whatever run the folder had
    if run is None or given not in (None, "", run.id):
        project, entity = os.environ.get("WANDB_PROJECT", "mobanet"), os.environ.get("WANDB_ENTITY")
        # by `secrets`: of a seeded generator, two runs of one seed would be one record; 8 characters, as its own
        run = TrackedRun(given or secrets.token_hex(4), project, entity or None)
    write_tracked(folder, run)
    # or its banners stand between the lines of the training
    os.environ["WANDB_SILENT"] = "true"
    os.environ.pop("WANDB_DISABLED", None)  # whether there is a record has been decided, and the option wins
    if os.environ.get("WANDB_MODE") != ("offline" if offline else "online"):
        os.environ.pop("WANDB_MODE", None)  # an empty one is refused besides
    logger = WandbRun(
        past or (),
        name=f"{experiment}/{folder.name}",
        id=run.id,
        project=run.project,
        entity=run.entity,
        save_dir=str(folder),
        offline=offline,
        # checkpoints stay here: they may be gigabytes
        log_model=False,
    )
    without_anonymous(logger)
    return logger
