"""ImageNet's ResNet-50 as the start of CBC's encoders."""

from collections.abc import Mapping

from torch import Tensor

from mobanet.errors import SettingError
from mobanet.models.cbc.encoder import BAND_TAPS, BandEncoder
from mobanet.plain.hub import hub_file

REPOSITORY, FILE = "timm/resnet50.tv_in1k", "model.safetensors"  # torchvision's weights, BSD-3-Clause
DEPTHS, WIDTH = (3, 4, 6, 3), 64


def load_resnet50() -> dict[str, Tensor]:
    """The published weights under timm's names, from the hub's cache, fetched if they are not there yet.

    Raises:
        UserError: when they cannot be downloaded or read.
    """
    from safetensors.torch import load_file

    try:
        return load_file(hub_file(REPOSITORY, FILE))
    except Exception as error:  # the client's errors share no base class across its versions
        raise SettingError(
            "cbc.pretrained",
            f": the weights {REPOSITORY}/{FILE} cannot be had ({type(error).__name__}); start "
            "from random weights with `cbc.pretrained` false.",
        ) from error


def fill_encoder(encoder: BandEncoder, weights: Mapping[str, Tensor]) -> None:
    """Put a ResNet-50's weights into an encoder, in place.

    The first kernel becomes its mean over colours, on each band tap a third of it. The first norm stays new: here it
    follows the ReLU, in a ResNet it precedes it. So do adapters and the sixth level, which a ResNet does not have.

    Args:
        encoder: of a ResNet-50's width and depths.
        weights: under timm's names.
    """
    state = encoder.state_dict()
    for name in state:
        if name.startswith("stages.") and not name.endswith("num_batches_tracked"):  # which not every file has
            state[name] = weights[_resnet_name(name)]
    gray = weights["conv1.weight"].mean(1, keepdim=True)  # (64, 3, 7, 7) -> (64, 1, 7, 7)
    state["stem.weight"] = gray.expand(-1, BAND_TAPS, -1, -1) / BAND_TAPS
    encoder.load_state_dict(state)


def _resnet_name(name: str) -> str:
    """A parameter of the stages as timm names it: `stages.0.1.norm2.bias` is `layer1.1.bn2.bias`."""
    _, stage, rest = name.split(".", 2)
    return f"layer{int(stage) + 1}.{rest.replace('norm', 'bn').replace('shortcut', 'downsample')}"
