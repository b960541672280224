"""The one door for networks: those of this package by name, those of users by import path.

A network of this package is a folder with its settings, its parts and an entry (`mobanet.models.entry.Network`), named
here. One of a user's own is a subclass of `SegmentationModel` in a module that Python can import. A checkpoint names
its network, too, and may be a stranger's: a class is looked up among the modules that are imported already, and no name
that a file gives leads to an import (`import_network` is for what the user has typed).
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

from mobanet.errors import SettingError, UserError
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.base import NetworkInputs, SegmentationModel
from mobanet.models.cbc.entry import CBC_ENTRY, CBC_SLP
from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.entry import CMX_ENTRY
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.entry import Network
from mobanet.models.mobanet.entry import MOBANET
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.plain.import_paths import imported, imported_module, is_module
from mobanet.plain.schema import MismatchError, UnknownKeyError, check_value
from mobanet.plain.wording import did_you_mean

NETWORKS: dict[str, Network] = {"mobanet": MOBANET, "cmx": CMX_ENTRY, "cbc": CBC_ENTRY, "cbc_slp": CBC_SLP}
"""By the name behind `--model.architecture`."""

OPTION = "--networks"
"""Names a user's own networks to commands that take a model from a file."""


@dataclass(frozen=True)
class NetworkSettings:
    """What a network is built from; of the groups of other architectures nothing is used.

    Attributes:
        architecture: which network: a name of `NETWORKS`, or the import path of a `SegmentationModel`.
        backbone: MoBaNet's transformer.
        network: MoBaNet's trained parts.
        cmx: CMX.
        cbc: CBC and CBC-SLP.
        arguments: of a network of a user's own.
    """

    architecture: str
    backbone: BackboneSettings
    network: MoBaNetSettings
    cmx: CMXSettings
    cbc: CBCSettings
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> Network:
        """The network of that name.

        Raises:
            UserError: as `network_named`.
        """
        return network_named(self.architecture)

    @property
    def title(self) -> str:
        """The network's name in texts."""
        return self.entry.title

    @property
    def uses_streams(self) -> bool:
        """Whether the network sorts modalities into streams."""
        return self.entry.uses_streams

    @property
    def missing(self) -> str:
        """What stands in for a missing modality: `zero` or `token`."""
        return self.entry.missing(**self._groups())

    @property
    def pretrained(self) -> bool:
        """Whether weights of others are what the network started from."""
        return self.entry.pretrained(**self._groups())

    def restored(self) -> "NetworkSettings":
        """The same without a look for pretrained weights, as those of a checkpoint follow."""
        return replace(
            self,
            backbone=replace(self.backbone, pretrained=False, checkpoint=None),
            cmx=replace(self.cmx, pretrained=False, checkpoint=None),
            cbc=replace(self.cbc, pretrained=False),
        )

    def build(
        self,
        streams: Mapping[str, Mapping[str, int]],
        modalities: Mapping[str, int],
        num_classes: int,
        pixel_ratios: Mapping[str, int] = MappingProxyType({}),
    ) -> SegmentationModel:
        """Make the network.

        Args:
            streams: number of bands by modality, by stream.
            modalities: number of bands by modality, in the order of the data.
            num_classes: K.
            pixel_ratios: by modality, pixels of the grid that one of its own is wide and high.

        Raises:
            UserError: for settings that do not fit the data or each other, and weights that cannot be had.
        """
        # before a constructor of the user's own is handed them
        check_arguments(self.architecture, self.arguments)
        inputs = NetworkInputs(modalities, streams, num_classes, self.backbone, dict(pixel_ratios))
        network = self.entry.build(inputs, **self._groups())
        network.pixel_ratios = inputs.pixel_ratios  # of networks that leave it to the base to know of them, too
        return network

    def described(self) -> str:
        """The pretrained part and where its weights come from, in a line."""
        return self.entry.described(**self._groups())

    def _groups(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.entry.groups}


def network_named(name: str) -> Network:
    """The network of a name, or of a class of a user's own by its import path.

    Args:
        name: a key of `NETWORKS`, or `package.module.Class` of a module that is imported already.

    Raises:
        UserError: for another one.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if "." not in name:
        hint = did_you_mean(name, NETWORKS)
        raise SettingError(
            "architecture",
            f"{name} is unknown{hint}: choose from {', '.join(NETWORKS)}, or give the import path "
            "of a network of your own, package.module.Class.",
        )
    found = _class(name)
    if found is None:
        raise UserError(
            f"the network {name} is code of its own, which no file may load by itself: if you trust it, name it with "
            f"{OPTION} {name}, or import it before in Python."
        )
    if not (isinstance(found, type) and issubclass(found, SegmentationModel)):
        raise SettingError("architecture", f"{name} is no subclass of mobanet.models.base.SegmentationModel.")
    return _own(found)


def settings_groups(name: str) -> tuple[str, ...]:
    """The groups of settings that decide which weights a network has and what they mean."""
    entry = network_named(name)
    return (*(("streams",) if entry.uses_streams else ()), *entry.groups)


def import_network(name: str, option: str) -> None:
    """Import the module of a network that the user has named, so that it can be looked up.

    Args:
        name: a key of `NETWORKS`, which needs nothing; or `package.module`, or `package.module.Class`.
        option: where the user gave it, for messages.

    Raises:
        UserError: where there is no such module or class, or its own code fails.
    """
    if name in NETWORKS:
        return
    if "." in name and not is_module(name):
        imported(name, option)
    else:
        imported_module(name, name, option)


def check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a network that takes none, or others.

    Args:
        name: of the network.
        arguments: by name.

    Raises:
        UserError: naming the first that it does not take, or that is not of its kind.
    """
    if name in NETWORKS:
        if arguments:
            raise SettingError(
                "arguments", f"are for a network of your own, and `architecture` is {name}: leave them out."
            )
        return
    kind = getattr(_class(name), "Settings", None)
    if kind is None:
        if arguments:
            raise SettingError("arguments", f"names {next(iter(arguments))}, and {name} takes no arguments.")
        return
    try:
        check_value(dict(arguments), kind, "arguments")
    except UnknownKeyError as error:
        known = ", ".join(kind.__dataclass_fields__)
        raise SettingError(error.where, f"is nothing that {name} takes; it takes {known}.") from error
    except MismatchError as error:
        raise SettingError(error.where, f"{error.problem}.") from error


def _own(found: type[SegmentationModel]) -> Network:
    def build(inputs: NetworkInputs, backbone: BackboneSettings, arguments: Mapping[str, Any]) -> SegmentationModel:
        kind, made = found.Settings, cast(Callable[..., SegmentationModel], found)
        return made(inputs) if kind is None else made(inputs, kind(**arguments))

    def described(backbone: BackboneSettings, arguments: Mapping[str, Any]) -> str:
        given = ", ".join(f"{name} {value}" for name, value in arguments.items())
        return f"code of its own{f' ({given})' if given else ''}"

    return Network(found.__name__, ("backbone", "arguments"), build, described, found.uses_streams)


def path_of(network: type[SegmentationModel]) -> str:
    """The import path of a class, by which a checkpoint names it."""
    return f"{network.__module__}.{network.__qualname__}"


def _class(path: str) -> Any:
    """What an import path leads to among the modules that are there; None for nothing.

    Attributes that a module would make when it is asked for them are not: that may import, and the path be a file's.
    """
    module, _, name = path.rpartition(".")
    there = sys.modules.get(module)
    return None if there is None else vars(there).get(name)
