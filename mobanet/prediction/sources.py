"""What maps can be made with: a checkpoint, the folder of a run, an export, or a model on the hub."""

from pathlib import Path

from mobanet.errors import UserError
from mobanet.exporting.hub import fetch, looks_like_repository
from mobanet.exporting.pretrained import CONFIG_FILE, FILES, WEIGHTS_FILE, PretrainedModel, read_folder, read_model
from mobanet.prediction.run import Model, describe_model, fingerprint
from mobanet.training.checkpoint import checkpoint_in

_SAFETENSORS = ".safetensors"


def open_model(source: str | Path, backbone: str | None = None, option: str = "--ckpt_path") -> Model:
    """Read what a model takes and knows, from whatever kind of place it lies in.

    Args:
        source: a checkpoint; the folder of a run, of which the best checkpoint is taken, or else the last; a folder or
            a .safetensors file that mobanet.export wrote; or OWNER/NAME of a repository on the hub with such a folder.
        backbone: file with the weights of a frozen backbone that the model leaves out, where they have moved.
        option: what the user typed the source behind, for messages.

    Raises:
        UserError: when there is no such model, or it cannot be used.
    """
    path = Path(source)
    if (path / CONFIG_FILE).is_file() or (path / WEIGHTS_FILE).is_file():
        return _of_export(read_folder(path, f"{option} {source}", backbone), path / WEIGHTS_FILE)
    if path.suffix == _SAFETENSORS and path.is_file():
        return _of_export(read_model(path, backbone), path)
    if not path.exists() and _on_hub(str(source)):
        folder = fetch(str(source), FILES)
        return _of_export(read_folder(folder, str(source), backbone), folder / WEIGHTS_FILE)
    return describe_model(checkpoint_in(path, option), backbone, option)


def _on_hub(source: str) -> bool:
    """Whether a name that is nothing here is one of the hub's, and no mistyped path of a file or into a folder."""
    owner = Path(source.partition("/")[0])
    return looks_like_repository(source) and not owner.exists() and not Path(source).suffix.lower().startswith(".ckpt")


def _of_export(model: PretrainedModel, weights: Path) -> Model:
    missing = [m.name for m in model.module.data.modalities if m.name not in model.learnt]
    if missing:
        raise UserError(f"{weights} does not say how {missing[0]} is scaled; export the checkpoint again.")
    return Model(
        weights,
        model.module.data,
        model.learnt,
        model.windows,
        fingerprint(weights),
        model.training.rasters,
        model.training.never,
        model.temperatures,
        adapted=list(model.module.settings.network.scenario_statistics),
        network=model.module.network,
    )
