"""Which modalities go into which of a model's streams."""

from collections.abc import Mapping

from mobanet.data.description import DataDescription
from mobanet.errors import check_setting


def streams_of(data: DataDescription, given: Mapping[str, list[str]] | None) -> dict[str, list[str]]:
    """The modalities of each stream, checked against the data.

    Args:
        data: what there is.
        given: by stream; None sorts modalities by their kind.

    Raises:
        UserError: when a modality is in no stream, in two, or not in the data.
    """
    names = [m.name for m in data.modalities]
    if given is None:
        sorted_out = {
            "optical": [m.name for m in data.modalities if m.kind == "optical"],
            "elevation": [m.name for m in data.modalities if m.kind != "optical"],
        }
        # no stream without a modality: a network would build a branch that nothing goes into
        return {stream: members for stream, members in sorted_out.items() if members}
    # also for a network without streams, such as CBC: MCRM masks by them
    placed = [name for members in given.values() for name in members]
    for name in placed:
        known = f"`data.modalities` ({', '.join(names)})"
        check_setting(name in names, "streams", f"names {name}, which is not among {known}.")
        check_setting(placed.count(name) == 1, "streams", f"names {name} twice; a modality belongs to one stream.")
    for name in names:
        remedy = "add it, or drop it from `data.modalities`"
        check_setting(name in placed, "streams", f"puts {name} into no stream; {remedy}.")
    return {stream: list(members) for stream, members in given.items() if members}
