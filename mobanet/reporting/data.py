"""The data module of a run, opened from its configuration without building a network."""

from mobanet.data.datamodule import RasterDataModule
from mobanet.errors import UserError
from mobanet.reporting.folder import RunFolder
from mobanet.runs.folder import CONFIG_FILE
from mobanet.runs.found import plain_data


def open_data(run: RunFolder) -> RasterDataModule:
    """A run's data with its test tiles at hand; tiles are read as prepared, nothing is prepared anew.

    Args:
        run: whose configuration says where the data is; relative paths count from the working folder.

    Raises:
        UserError: when the configuration does not fit, or the prepared tiles are not there.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RasterDataModule, "data")
    try:
        settings = plain_data(run.config["data"], run.path / CONFIG_FILE)
    except UserError as error:
        raise UserError(f"{run.path / CONFIG_FILE} does not describe a data set: {error}") from error
    settings["modalities"] = [modality.name for modality in run.data.modalities]
    settings["scaling"] = dict(run.data.scaling)
    try:
        data: RasterDataModule = parser.instantiate(parser.parse_object({"data": settings})).data
    except (ArgumentError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{run.path / CONFIG_FILE} does not describe a data set ({reason}); mend it.") from error
    if run.scaling:
        data.load_state_dict(dict(run.scaling))
    data.setup("test")
    return data
