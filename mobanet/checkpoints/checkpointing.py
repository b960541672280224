"""What a module does about checkpoints: what is written, what is left out, and what may be read again."""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

import mobanet
from mobanet.checkpoints.averaging import change_copies
from mobanet.checkpoints.checkpoint import VERSION, adopt_settings, check_architecture, check_names
from mobanet.checkpoints.data_state import hand_over_data_state, keep_data_state
from mobanet.checkpoints.finite import check_finite_weights
from mobanet.checkpoints.frozen import LEFT_OUT, LeftOut, backbone_tensors, check_fingerprint, fingerprint, left_out
from mobanet.checkpoints.trained import check_trained
from mobanet.data.attached import data_of
from mobanet.errors import UserError
from mobanet.evaluation.adaptation import without_statistics
from mobanet.evaluation.temperature import temperature_trouble, with_temperatures
from mobanet.models.base import SegmentationModel
from mobanet.models.lora import with_lora_names
from mobanet.models.registry import NetworkSettings
from mobanet.scenarios.scenario import Scenario

_NETWORK = "network."
_INCOMPLETE = "network.incomplete."
"""Of names in a state dict: the network, and its parts for incomplete samples, named as the others are behind it."""

_RUNNING = {"scenario_mean": "running_mean", "scenario_var": "running_var"}
"""Statistics of scenarios, and those of all samples."""


class Checkpointed(Protocol):
    """A LightningModule that has a `Checkpointing`, as far as that asks."""

    @property
    def network(self) -> SegmentationModel:
        """The model."""

    @property
    def settings(self) -> NetworkSettings:
        """Of the network."""

    @property
    def hparams(self) -> MutableMapping[str, Any]:
        """All settings, as checkpoints have them."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """Those of the data, each of which has a temperature."""

    @property
    def adapted(self) -> list[str]:
        """Names of the network's layers that have low-rank additions."""

    @property
    def has_own_optimizers(self) -> bool:
        """Whether a subclass configures them, of whose settings nothing is known here."""

    @property
    def configure_optimizers(self) -> Callable[[], Any]:
        """The optimiser and its schedule, as at the start of training."""

    @property
    def state_dict(self) -> Callable[[], dict[str, Any]]:
        """All weights by name."""

    @property
    def load_state_dict(self) -> Callable[[Mapping[str, Any]], Any]:
        """Take weights by name."""


class Checkpointing:
    """Writes checkpoints without a frozen backbone whose weights can be had again, and reads them with it.

    Args:
        leaves_out: see the attribute.

    Attributes:
        leaves_out: whether checkpoints do without the frozen backbone. They can where it is what its file or the hub
            holds; weights that came out of another checkpoint, or are random, stay in.
    """

    def __init__(self, leaves_out: bool) -> None:
        self.leaves_out = leaves_out
        self._fingerprint: str | None = None

    def fingerprint(self, module: Checkpointed) -> str:
        """Of the frozen backbone's weights, taken at the first call."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(module.state_dict())
        return self._fingerprint

    def before_training(self, module: Checkpointed) -> None:
        """Take the backbone's fingerprint once."""
        if self.leaves_out:
            self.fingerprint(module)

    def before_change(self, change: Callable[[Tensor], Tensor], module: Checkpointed) -> None:
        """Take it before the backbone's weights become others, of another type.

        Args:
            change: of `torch.nn.Module._apply`.
            module: that is about to be changed.
        """
        # what a change does to types shows on a tensor of nothing
        if self.leaves_out and change(torch.empty(0)).dtype != torch.float32:
            self.fingerprint(module)

    def write(self, checkpoint: dict[str, Any], module: Checkpointed, trainer: Trainer | None) -> None:
        """Leave the frozen backbone out of a checkpoint that is about to be written, and say which one it is.

        Args:
            checkpoint: changed in place.
            module: whose checkpoint it is.
            trainer: that trains it; None for none.

        Raises:
            Diverged: by all ranks, where weights are NaN or infinite; what was written before stays as it is then.
        """
        checkpoint[VERSION] = mobanet.__version__
        state = checkpoint["state_dict"]
        self._check_finite(state, trainer)  # while nothing is written yet
        if trainer is not None:
            keep_data_state(checkpoint, data_of(trainer))
        without = backbone_tensors(state).keys()
        if not self.leaves_out or not without:  # other strategies than DDP gather no state here
            return

        def light(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value for name, value in state.items() if name not in without}

        checkpoint["state_dict"] = light(state)
        change_copies(checkpoint, light)
        checkpoint["hyper_parameters"] = {**checkpoint["hyper_parameters"], "restored": "trained"}
        checkpoint[LEFT_OUT] = LeftOut(module.settings.backbone.name, self.fingerprint(module)).to_plain()

    def read(self, checkpoint: dict[str, Any], module: Checkpointed, trainer: Trainer | None) -> None:
        """Refuse another architecture; where only training settings differ, go on with the new ones.

        Args:
            checkpoint: about to be restored; changed in place.
            module: that takes its weights.
            trainer: that goes on with it; None for none.

        Raises:
            UserError: naming the first setting that differs, or a weight that is NaN or infinite.
        """
        check_architecture(checkpoint["hyper_parameters"], module.hparams)
        check_finite_weights(checkpoint["state_dict"], "the checkpoint")
        checkpoint["state_dict"] = self._completed(checkpoint, checkpoint["state_dict"], module)
        change_copies(checkpoint, lambda state: self._completed(checkpoint, state, module))
        self._replaced_by(checkpoint)
        if trainer is None:
            return
        hand_over_data_state(checkpoint, data_of(trainer))
        if trainer.training and module.has_own_optimizers:
            rank_zero_info(
                f"the optimiser and its schedule go on as the checkpoint has them: {type(module).__name__}'s own"
            )
        elif trainer.training:
            adopt_settings(checkpoint, module.hparams, module.configure_optimizers())

    def check(self, checkpoint: Mapping[str, Any], module: Checkpointed) -> None:
        """Refuse a checkpoint of another architecture or around another backbone before anything is started.

        Raises:
            UserError: naming each setting that differs.
        """
        check_architecture(checkpoint["hyper_parameters"], module.hparams)
        self._completed(checkpoint, checkpoint["state_dict"], module)

    def begin_from(self, checkpoint: Mapping[str, Any], module: Checkpointed) -> None:
        """Give a module a checkpoint's weights and nothing else of it; LoRA may be added to a network that had none.

        Parts of their own for incomplete samples may be added, too: they start as a copy of those that the network has,
        and may be told what is missing (`absent`) where the others were not. Batch normalisation may go on by scenario.
        Batch statistics of scenarios, which hold for the checkpoint's very weights, stay behind where the network has
        none.

        Raises:
            UserError: when the architecture or the backbone is another, or a weight is NaN or infinite.
        """
        saved, state = dict(checkpoint["hyper_parameters"]), dict(checkpoint["state_dict"])
        if module.adapted and not saved["lora"]["rank"]:
            saved["lora"] = module.hparams["lora"]
            own = {name: value for name, value in module.state_dict().items() if ".lora_" in name}
            # own additions as they start: with second factors of 0, so that the network computes what it did
            state = {**own, **with_lora_names(state, [f"{_NETWORK}{name}" for name in module.adapted])}
        if saved["network"].get("scenario_statistics") and not module.settings.network.scenario_statistics:
            saved, state = without_statistics(saved, state)
            rank_zero_info("note: the checkpoint was adapted by mobanet.adapt; its statistics of scenarios stay behind")
        # older checkpoints do not say; then there was but one set of parts
        if module.network.apart and saved["network"].get("incomplete", "shared") == "shared":
            # what is made of absence, too, is theirs from here on: complete samples, which the others see, lack nothing
            free = {"incomplete": "own", "absent": module.hparams["network"]["absent"]}
            saved["network"] = {**saved["network"], **free}
            apart = [name for name in module.state_dict() if name.startswith(_INCOMPLETE)]
            # None: what is new in them, such as of a checkpoint that lacks it, which the check of names then tells
            copied = {name: state.get(name.replace(_INCOMPLETE, _NETWORK, 1)) for name in apart}
            state |= {name: value for name, value in copied.items() if value is not None}
            if saved["network"].get("normalization") == "scenario":
                state = _parted(state)
        if module.network.one_scenario_a_batch and saved["network"].get("normalization") == "batch":
            saved["network"] = {**saved["network"], "normalization": module.hparams["network"]["normalization"]}
            state |= _of_no_scenario(module.state_dict(), state)
        check_architecture(saved, module.hparams)
        check_finite_weights(state, "the checkpoint")
        module.load_state_dict(self._completed(checkpoint, state, module))
        self._replaced_by(checkpoint)

    def _check_finite(self, state: Mapping[str, Any], trainer: Trainer | None) -> None:
        # a frozen backbone that is left out cannot have become NaN, and is most of what there is
        without = backbone_tensors(state).keys() if self.leaves_out else ()
        written = {name: value for name, value in state.items() if name not in without}
        if trainer is None:
            check_finite_weights(written, "this model")
        else:
            check_trained(trainer, written)

    def _completed(
        self, checkpoint: Mapping[str, Any], state: Mapping[str, Tensor], module: Checkpointed
    ) -> dict[str, Tensor]:
        """A checkpoint's weights with those of the backbone that it leaves out, which are the module's own."""
        own, without = module.state_dict(), left_out(checkpoint)
        if without is not None:
            check_fingerprint(without, self.fingerprint(module), module.settings.backbone)
            state = {**backbone_tensors(own), **state}
        state = with_temperatures(state, len(module.scenarios))
        check_names(state.keys(), own.keys())
        if (problem := temperature_trouble(state)) is not None:
            raise UserError(f"the checkpoint cannot be used: {problem}; take another checkpoint of the run.")
        return dict(state)

    def _replaced_by(self, checkpoint: Mapping[str, Any]) -> None:
        """A backbone that came out of a checkpoint is in no other place for certain."""
        if left_out(checkpoint) is None:
            self.leaves_out, self._fingerprint = False, None


def _parted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What all samples were normalised by, parted: incomplete scenarios to own parts, the last, full one to the others.

    The others know no scenarios, and take what the full one has for their running statistics.
    """
    found = {name: value for name, value in state.items() if name.startswith(_INCOMPLETE)}
    for name, value in state.items():
        norm, _, leaf = name.rpartition(".")
        if name in found:
            continue
        if leaf != "scenario_batches" and leaf not in _RUNNING:
            found.setdefault(name, value)
            continue
        found[name.replace(_NETWORK, _INCOMPLETE, 1)] = value[:-1]
        if leaf in _RUNNING:
            found[f"{norm}.{_RUNNING[leaf]}"] = value[-1]
    return found


def _of_no_scenario(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's statistics of scenarios where none was met yet with given weights: the running ones of these."""
    found = {}
    for name, value in own.items():
        norm, _, leaf = name.rpartition(".")
        if leaf == "scenario_batches":
            found[name] = torch.zeros_like(value)
        # not there: of a checkpoint that lacks it, which the check of names then tells
        elif leaf in _RUNNING and (shared := state.get(f"{norm}.{_RUNNING[leaf]}")) is not None:
            found[name] = shared.expand_as(value).clone()
    return found
