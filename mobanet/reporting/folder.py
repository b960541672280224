"""What a run folder says of its run: configuration, checkpoint, and the commit if it was recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobanet.checkpoints.data_state import DATA_STATE
from mobanet.checkpoints.frozen import left_out
from mobanet.data.description import DataDescription
from mobanet.errors import UserError
from mobanet.exporting.places import exported_in
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.precision import trained_precision
from mobanet.plain import yaml_files
from mobanet.plain.bounds import read_bounded
from mobanet.plain.json_files import MOST_BYTES, parse_json
from mobanet.runs.folder import CONFIG_FILE, run_folder_of
from mobanet.runs.provenance import PROVENANCE_FILE


@dataclass(frozen=True)
class RunFolder:
    """A run folder without its results.

    Attributes:
        path: of the folder.
        name: of the folder.
        config_text: its `config.yaml` as it stands there.
        config: the same, parsed.
        checkpoint: file name of the checkpoint that the rest comes from, `best.ckpt` if there is one.
        epoch: after which it was written, from 0.
        step: after which it was written.
        hyper_parameters: of its module.
        scaling: the state of its data module, by which inputs are scaled.
        lightning: version that wrote it; empty where unknown.
        data: its modalities and classes.
        fingerprint: of the frozen backbone's weights, if the checkpoint leaves them out.
        commit: of the code, if the run recorded it.
        precision: that it was trained in, if the checkpoint says so.
    """

    path: Path
    name: str
    config_text: str
    config: Mapping[str, Any]
    checkpoint: str
    epoch: int
    step: int
    hyper_parameters: Mapping[str, Any]
    scaling: Mapping[str, Any]
    lightning: str
    data: DataDescription
    fingerprint: str | None
    commit: str | None
    precision: str | None


def read_folder(path: str | Path) -> RunFolder:
    """Look into a run folder.

    Raises:
        UserError: when it is no run folder, has no checkpoint, or one of the two files cannot be read.
    """
    path = Path(path)
    if not (path / CONFIG_FILE).is_file():
        what = f"has no {CONFIG_FILE}" if path.is_dir() else "is not a folder" if path.exists() else "does not exist"
        raise UserError(f"--run {path} is no run folder, it {what}; give a folder that mobanet.fit has written.")
    text, config = _config(path / CONFIG_FILE)
    # the figures of a test are usually those of the best one
    found = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    # a run without validation has no best one
    file = next((each for each in found if each.is_file()), None)
    if file is None:
        raise UserError(f"--run {path} has no checkpoints/best.ckpt or last.ckpt; train it for at least an epoch.")
    # nothing is predicted with it, and a run whose weights are NaN is to be looked at, too
    checkpoint = read_checkpoint(file, "--run", finite=False)
    backbone = left_out(checkpoint)
    return RunFolder(
        path=path,
        name=path.resolve().name,  # of . and .., too
        config_text=text,
        config=config,
        checkpoint=file.name,
        epoch=int(checkpoint.get("epoch", 0)),
        step=int(checkpoint.get("global_step", 0)),
        hyper_parameters=checkpoint["hyper_parameters"],
        scaling=checkpoint.get(DATA_STATE, {}),
        lightning=str(checkpoint.get("pytorch-lightning_version", "")),
        data=DataDescription.from_plain(checkpoint["hyper_parameters"]["data"]),
        fingerprint=backbone.fingerprint if backbone else None,
        commit=_commit(path),
        precision=trained_precision(checkpoint),
    )


def run_in(path: str | Path) -> Path:
    """The folder of a run: what a user gives, or the one that a checkpoint or an exported model lies in.

    Raises:
        UserError: for an exported model that lies in no run.
    """
    path = Path(path)
    if not path.exists() or (path / CONFIG_FILE).is_file():
        return path
    exported = exported_in(path) is not None
    if (exported or path.is_file()) and (run := run_folder_of(str(path))) is not None:
        return run
    if exported:
        raise UserError(
            f"--run {path} is an exported model, which has no figures of a run; give the folder of the run that it was "
            "exported from."
        )
    return path


def _config(path: Path) -> tuple[str, dict[str, Any]]:
    import yaml

    try:
        text = read_bounded(path, yaml_files.MOST_BYTES)
        content = yaml_files.parse_yaml(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        # ours are plain ValueErrors with a sentence; subclasses and YAML's errors speak of bytes and marks
        reason = " ".join(str(error).split())[:200] if type(error) is ValueError else type(error).__name__
        raise _no_configuration(path, reason) from error
    if not isinstance(content, dict) or not isinstance(content.get("data"), dict):
        raise _no_configuration(path, "it has no data")
    return text, content


def _no_configuration(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is no configuration of a run ({reason}); give a folder that mobanet.fit has written.")


def _commit(folder: Path) -> str | None:
    """The commit that the run was last started from."""
    path = folder / PROVENANCE_FILE
    if not path.is_file():
        return None
    try:
        # a line each time that the run was started or gone on with
        made = parse_json(read_bounded(path, MOST_BYTES).splitlines()[-1])
        commit, changed = made["commit"], made["changed"]
    except (ValueError, KeyError, TypeError, IndexError) as error:  # UnicodeDecodeError among them
        raise UserError(f"{path} is damaged; remove it, and the report goes without the commit.") from error
    # of an installed package there is no commit
    return f"{commit}, with changes" if commit and changed else commit
