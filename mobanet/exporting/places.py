"""A finished model by whatever name: a checkpoint, the folder of a run, an exported folder or file, or of the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mobanet
from mobanet.checkpoints.checkpoint import VERSION, checkpoint_in
from mobanet.checkpoints.data_state import DATA_STATE
from mobanet.checkpoints.frozen import BACKBONE_OPTION
from mobanet.errors import UserError
from mobanet.exporting.hub import fetch, looks_like_repository
from mobanet.exporting.pretrained import CONFIG_FILE, FILES, WEIGHTS_FILE, PretrainedModel, read_folder, read_model
from mobanet.exporting.weights import Training
from mobanet.loading.module import LoadedModel, load_module
from mobanet.plain.schema import to_plain

_SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class Exported:
    """An exported model that is there, `local` or from the hub, in a folder or file that the user calls `shown`."""

    path: Path
    shown: str
    local: bool = True

    @property
    def weights(self) -> Path:
        """Of the file with its weights."""
        return self.path / WEIGHTS_FILE if self.path.is_dir() else self.path

    @property
    def place(self) -> Path:
        """What things are written beside: the model itself, or, of one on the hub, its name in the working folder."""
        return self.path if self.local else Path(Path(self.shown).name)

    def read(self, backbone: str | Path | None = None, option: str = "--backbone") -> PretrainedModel:
        """The model; a frozen backbone that it leaves out comes from a file, which the user types behind `option`."""
        try:
            if self.path.is_dir():
                return read_folder(self.path, self.shown, backbone)
            return read_model(self.path, backbone)
        except UserError as error:  # which names the options of training
            raise UserError(error.told().replace(BACKBONE_OPTION, option)) from error


def exported_in(source: str | Path, option: str | None = None, revision: str | None = None) -> Exported | None:
    """The exported model that a name stands for; None where it is one of a checkpoint, of a run's folder or of nothing.

    Args:
        source: a folder or a .safetensors file that mobanet.export wrote, or OWNER/NAME of a repository on the hub,
            which is downloaded if it is not there yet.
        option: what the user typed it behind, for messages.
        revision: branch, tag or commit of a repository.

    Raises:
        UserError: when it can only be the name of a repository, and that cannot be had.
    """
    path, shown = Path(source), f"{option} {source}" if option else str(source)
    if (path / CONFIG_FILE).is_file() or (path / WEIGHTS_FILE).is_file():
        return Exported(path, shown)
    if path.is_file() and (path.suffix == _SAFETENSORS or _begins_as_safetensors(path)):
        return Exported(path, shown)
    # what is on this machine comes before the hub, whatever it is called
    if not path.exists() and _on_hub(str(source)):
        return Exported(fetch(str(source), FILES, revision), str(source), local=False)
    return None


def _begins_as_safetensors(path: Path) -> bool:
    """Whether a file of any name has a length in eight bytes and JSON behind it; a checkpoint is an archive."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _on_hub(source: str) -> bool:
    """Whether a name that is nothing here is one of the hub's, and no mistyped path of a file or into a folder."""
    owner, suffix = Path(source.partition("/")[0]), Path(source).suffix.lower()
    return looks_like_repository(source) and not owner.exists() and not suffix.startswith((".ckpt", _SAFETENSORS))


def from_pretrained(
    source: str | Path, backbone: str | Path | None = None, revision: str | None = None
) -> PretrainedModel:
    """The network of a finished model, for batches of tensors; on the CPU an export predicts bit for bit the same.

    Args:
        source: a folder or .safetensors file that mobanet.export wrote; OWNER/NAME of a repository on the hub with such
            a folder; a checkpoint; or the folder of a run, of which the best checkpoint is taken, or else the last.
        backbone: file with the weights of a frozen backbone that the model leaves out; None: they come from where the
            run had them, or from the hub.
        revision: branch, tag or commit of the repository.

    Raises:
        UserError: when there is no such model, it is damaged, or the weights of its backbone cannot be had.
    """
    exported = exported_in(source, revision=revision)
    if exported is not None:
        return exported.read(backbone, "backbone")
    if not Path(source).exists():
        raise UserError(
            f"{source} does not exist; give a checkpoint, the folder of a run, a folder that mobanet.export wrote, or "
            "OWNER/NAME on the hub."
        )
    path = checkpoint_in(source, "model")
    file = None if backbone is None else str(backbone)
    return pretrained_of(load_module(path, file, "model", "backbone"), f"model {path}")


def pretrained_of(loaded: LoadedModel, shown: str) -> PretrainedModel:
    """The model of a checkpoint, which the user calls `shown`."""
    state: Any = loaded.checkpoint.get(DATA_STATE)
    if not isinstance(state, dict) or "scaling" not in state:
        raise UserError(f"{shown} does not say how its inputs are scaled; give one that mobanet.fit wrote.")
    learnt = {name: np.array(numbers) for name, numbers in state["scaling"].items()}
    return PretrainedModel(loaded.module, learnt, state.get("windows"), Training.of(loaded.checkpoint))


def as_checkpoint(model: PretrainedModel) -> dict[str, Any]:
    """What a checkpoint of an exported model would hold, but for the state of a training, which no export has."""
    module, training = model.module, model.training
    state = dict(module.state_dict())
    # predictions warn of scenarios without probability
    drawn = [0.0 if scenario.name in training.never else 1.0 for scenario in module.scenarios]
    # which of them were drawn is known, and not how often
    state["scenario_probabilities"] = torch.tensor(drawn) / max(sum(drawn), 1.0)
    return {
        "state_dict": state,
        "hyper_parameters": {**to_plain(dict(module.hparams)), "restored": True},
        "epoch": training.epoch or 0,
        "global_step": 0,
        VERSION: mobanet.__version__,
        DATA_STATE: {
            "scaling": {name: np.asarray(numbers).tolist() for name, numbers in model.learnt.items()},
            "windows": dict(model.windows) if model.windows else None,
            "rasters": training.rasters.to_plain(),
        },
    }
