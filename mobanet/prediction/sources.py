"""What maps can be made with: a checkpoint, the folder of a run, an export, or a model on the hub."""

from pathlib import Path

from mobanet.checkpoints.checkpoint import checkpoint_in
from mobanet.errors import UserError
from mobanet.exporting.places import exported_in
from mobanet.exporting.pretrained import PretrainedModel
from mobanet.prediction.run import Model, describe_model, fingerprint
from mobanet.stitching.blending import NOTHING


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
    exported = exported_in(source, option)
    if exported is not None:
        model = _of_export(exported.read(backbone), exported.weights)
    else:
        model = describe_model(checkpoint_in(source, option), backbone, option)
    # numbers of scenarios are bytes in the parts of a map, and the last of them means that there is none
    if (count := len(model.scenarios)) > NOTHING:
        raise UserError(
            f"{option} {source} has {len(model.modalities)} modalities, in {count} scenarios, and a map tells "
            f"{NOTHING} apart at most: give a model of up to 8 modalities."
        )
    return model


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
