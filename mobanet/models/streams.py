"""The modalities of a model's streams: whether they fit, and what the pretrained patch kernel expects of them."""

from collections.abc import Mapping, Sequence

from mobanet.errors import check_setting
from mobanet.models.base import Standardization

# Three-band images that the pretrained kernel sees as they are, in order of preference.
PRETRAINED_MODALITIES = ("rgb", "irrg")


MOST_STREAMS = 8
"""Each stream runs through the whole transformer, and doubles the kinds of samples that masking shares blocks out to
(`mobanet.scenarios.masking.share_out`)."""


def check_streams(streams: Mapping[str, Mapping[str, int]], order: Sequence[str] | None) -> dict[str, int]:
    """Number of bands by modality over all streams, in order.

    Args:
        streams: by stream, number of bands by modality.
        order: of the modalities; as in `streams` by default.

    Raises:
        UserError: for streams that a model cannot be built from.
    """
    check_setting(bool(streams), "streams", "names no stream: give at least one, such as {optical: [rgb]}.")
    check_setting(
        len(streams) <= MOST_STREAMS,
        "streams",
        f"names {len(streams)} streams, and there may be {MOST_STREAMS}: put modalities that belong together into one "
        "stream.",
    )
    modalities: dict[str, int] = {}
    for stream, members in streams.items():
        check_setting(bool(members), f"streams.{stream}", "has no modality: name at least one, or drop the stream.")
        for name, bands in members.items():
            reason = f"names the modality {name} twice: keep it in one stream."
            check_setting(name not in modalities, "streams", reason)
            check_setting(
                bands > 0 and len(name) > 0 and "." not in name,  # the name becomes part of a parameter's
                f"streams.{stream}",
                f": {name!r} with {bands} bands is no modality: give a name without a dot and at least one band.",
            )
            modalities[name] = bands
    if order is None:
        return modalities
    same = sorted(order) == sorted(modalities)
    check_setting(same, "order", f"is {list(order)}: name each of {list(modalities)} once.")
    return {name: modalities[name] for name in order}


def find_pretrained(optical: Mapping[str, int]) -> str | None:
    """The modality that goes through the pretrained kernel as it is: `rgb`, or `irrg` in first place."""
    # wherever it stands in its stream: no other modality can be more like what the kernel was trained on
    if optical.get("rgb") == 3:
        return "rgb"
    first = next(iter(optical))
    return first if first in PRETRAINED_MODALITIES and optical[first] == 3 else None


def standardize(
    optical: Mapping[str, int], mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, Standardization]:
    """What the pretrained kernel expects of each optical modality: three colours as they are, others the means.

    Args:
        optical: number of bands by modality of the optical stream.
        mean: of the three channels the weights were trained on.
        std: their standard deviations.
    """
    # a band that is no colour has no channel of its own among the pretrained ones
    plain = (sum(mean) / len(mean), sum(std) / len(std))
    return {
        name: Standardization(mean, std)
        if name in PRETRAINED_MODALITIES and bands == 3
        else Standardization((plain[0],) * bands, (plain[1],) * bands)
        for name, bands in optical.items()
    }
