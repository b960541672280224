"""The data module of a run, opened from its configuration without building a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.description import DataDescription
from mobanet.errors import UserError
from mobanet.runs.found import plain_data


def open_data(
    config: Mapping[str, Any],
    where: Path,
    description: DataDescription,
    scaling: Mapping[str, Any] | None = None,
    prepare: bool = False,
) -> RasterDataModule:
    """A run's data with its test tiles at hand.

    Args:
        config: the run's configuration, which says where the data is; relative paths count from the working folder.
        where: the file that it was read from, for messages.
        description: of what the model takes.
        scaling: the state of the run's data module, which it scales by; None for what the tiles themselves give.
        prepare: tiles that are not prepared, where there are some; otherwise they are read as they are.

    Raises:
        UserError: when the configuration does not fit, or the rasters or prepared tiles are not there.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)  # or it would end the process of a script or a notebook
    parser.add_class_arguments(RasterDataModule, "data")
    try:
        # before the parser, which would import a class that is named there
        settings = plain_data(config["data"], where)
    except UserError as error:
        raise UserError(f"{where} does not describe a data set: {error}") from error
    # the model's, as its run may have taken some of what the data has
    settings["modalities"] = [modality.name for modality in description.modalities]
    settings["scaling"] = dict(description.scaling)
    try:
        data: RasterDataModule = parser.instantiate(parser.parse_object({"data": settings})).data
    except (ArgumentError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where} does not describe a data set ({reason}); mend it.") from error
    # before `setup`, which would otherwise take the numbers from the training tiles
    if scaling:
        data.load_state_dict(dict(scaling))
    if prepare:
        data.prepare_data()
    data.setup("test")
    return data
