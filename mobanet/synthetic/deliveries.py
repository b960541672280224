"""The data sets that can be drawn, by the name of their layout."""

from mobanet.datasets import LAYOUTS
from mobanet.datasets.folder_words import settings_in
from mobanet.errors import UserError
from mobanet.shipped import described_data, described_names
from mobanet.synthetic.delivery import Delivery
from mobanet.synthetic.described import DescribedDelivery
from mobanet.synthetic.dstl import DstlDelivery
from mobanet.synthetic.hunan import HunanDelivery
from mobanet.synthetic.isprs import IsprsDelivery

DRAWABLE = ("potsdam", "vaihingen", "dstl", "hunan")


def delivery_of(layout: str) -> Delivery:
    """How a data set is delivered.

    Args:
        layout: one of `DRAWABLE`, of which variants such as `dstl_crops` read the same files; or the name of a data set
            that comes described or of its experiment, or a YAML file of either kind.

    Raises:
        UserError: for another name.
    """
    if (path := described_data(layout)) is not None:
        return DescribedDelivery(layout, settings_in(path))
    base = layout.partition("_")[0]
    if layout not in LAYOUTS or base not in DRAWABLE:
        *most, last = DRAWABLE
        others = f"; {', '.join(described_names())}; or a YAML file that describes data"
        raise UserError(
            f"--layout {layout}: nothing can be drawn in this layout; use {', '.join(most)} or {last}{others}."
        )
    return {"dstl": DstlDelivery, "hunan": HunanDelivery}.get(base, lambda: IsprsDelivery(base))()


def tile_names(layout: str, count: int) -> list[str]:
    """The first `count` tiles of a synthetic data set; errors as for `delivery_of` and `Delivery.names`."""
    return delivery_of(layout).names(count)
