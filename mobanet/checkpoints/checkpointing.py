"""The checkpoint half of the LightningModule: what is written, what is left out, and what may be read again."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

import mobanet
from mobanet.checkpoints.averaging import change_copies, go_on_averaging
from mobanet.checkpoints.checkpoint import VERSION, adopt_settings, check_architecture, check_names
from mobanet.checkpoints.data_state import hand_over_data_state, keep_data_state
from mobanet.checkpoints.exact import moving
from mobanet.checkpoints.finite import check_finite_weights
from mobanet.checkpoints.frozen import LEFT_OUT, LeftOut, backbone_tensors, check_fingerprint, fingerprint, left_out
from mobanet.errors import UserError
from mobanet.evaluation.adaptation import without_statistics
from mobanet.evaluation.evaluation import EvaluatedModule
from mobanet.evaluation.temperature import temperature_trouble, with_temperatures
from mobanet.lightning_internals import callbacks_of, data_of
from mobanet.models.lora import LoRASettings, with_lora_names
from mobanet.models.registry import NetworkSettings
from mobanet.training.divergence import DivergenceStop, check_trained

_NETWORK = "network."
_INCOMPLETE = "network.incomplete."
"""Of names in a state dict: the network, and its parts for incomplete samples, named as the others are behind it."""


class CheckpointedModule(EvaluatedModule):
    """Writes checkpoints without a frozen backbone whose weights can be had again, and reads them with it.

    Attributes:
        settings: of the network.
        lora: low-rank additions.
        adapted: names of the network's layers that have them.
        leaves_out: whether checkpoints do without the frozen backbone. They can where it is what its file or the hub
            holds; weights that came out of another checkpoint, or are random, stay in.
    """

    settings: NetworkSettings
    lora: LoRASettings
    adapted: list[str]
    leaves_out: bool
    _fingerprint: str | None = None

    @property
    def has_own_optimizers(self) -> bool:
        """Whether a subclass configures them, of whose settings nothing is known here."""
        raise NotImplementedError

    def configure_callbacks(self) -> list[Callback]:
        """What no training goes without, whoever makes the trainer."""
        # of an earlier call
        there = any(isinstance(callback, DivergenceStop) for callback in callbacks_of(self.trainer))
        return [] if there else [DivergenceStop()]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "CheckpointedModule":
        """Move or convert the weights; scenario probabilities, temperatures, class weights move, and stay in float32.

        The backbone's fingerprint is taken before its weights become others.
        """
        if self.leaves_out and fn(torch.empty(0)).dtype != torch.float32:
            self.backbone_fingerprint()
        exact = {name: moving(fn)(buffer) for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        self._buffers.update(exact)
        return self

    def setup(self, stage: str) -> None:
        """Take the backbone's fingerprint once."""
        if stage == "fit" and self.leaves_out:
            self.backbone_fingerprint()

    def on_train_start(self) -> None:
        """Let averages of the weights go on where they were."""
        go_on_averaging(self.trainer, self)

    def backbone_fingerprint(self) -> str:
        """Of the frozen backbone's weights, taken at the first call."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.state_dict())
        return self._fingerprint

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen backbone out, and say which one it is.

        Raises:
            Diverged: by all ranks, where weights are NaN or infinite; what was written before stays as it is then.
        """
        checkpoint[VERSION] = mobanet.__version__
        state = checkpoint["state_dict"]
        self._check_finite(state)
        if self._trainer is not None:
            keep_data_state(checkpoint, data_of(self.trainer))
        without = backbone_tensors(state).keys()
        if not self.leaves_out or not without:  # other strategies than DDP gather no state here
            return

        def light(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value for name, value in state.items() if name not in without}

        checkpoint["state_dict"] = light(state)
        change_copies(checkpoint, light)
        checkpoint["hyper_parameters"] = {**checkpoint["hyper_parameters"], "restored": "trained"}
        checkpoint[LEFT_OUT] = LeftOut(self.settings.backbone.name, self.backbone_fingerprint()).to_plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another architecture; where only training settings differ, go on with the new ones.

        Raises:
            UserError: naming the first setting that differs, or a weight that is NaN or infinite.
        """
        check_architecture(checkpoint["hyper_parameters"], self.hparams)
        check_finite_weights(checkpoint["state_dict"], "the checkpoint")
        checkpoint["state_dict"] = self._completed(checkpoint, checkpoint["state_dict"])
        change_copies(checkpoint, lambda state: self._completed(checkpoint, state))
        self._replaced_by(checkpoint)
        if self._trainer is None:
            return
        hand_over_data_state(checkpoint, data_of(self.trainer))
        if self.trainer.training and self.has_own_optimizers:
            rank_zero_info(
                f"the optimiser and its schedule go on as the checkpoint has them: {type(self).__name__}'s own"
            )
        elif self.trainer.training:
            made = cast(Mapping[str, Any], self.configure_optimizers())  # the package's own, as there are no others
            adopt_settings(checkpoint, self.hparams, made)

    def check_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another architecture or around another backbone before anything is started.

        Raises:
            UserError: naming each setting that differs.
        """
        check_architecture(checkpoint["hyper_parameters"], self.hparams)
        self._completed(checkpoint, checkpoint["state_dict"])

    def begin_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Take a checkpoint's weights and nothing else of it; LoRA may be added to a network that had none.

        Parts of their own for incomplete samples may be added, too: they start as a copy of those that the network has.
        Batch statistics of scenarios, which hold for the checkpoint's very weights, stay behind where the network has
        none.

        Raises:
            UserError: when the architecture or the backbone is another, or a weight is NaN or infinite.
        """
        saved, state = dict(checkpoint["hyper_parameters"]), dict(checkpoint["state_dict"])
        if self.adapted and not saved["lora"]["rank"]:
            saved["lora"] = self.hparams["lora"]
            own = {name: value for name, value in self.state_dict().items() if ".lora_" in name}
            state = {**own, **with_lora_names(state, [f"network.{name}" for name in self.adapted])}
        if saved["network"].get("scenario_statistics") and not self.settings.network.scenario_statistics:
            saved, state = without_statistics(saved, state)
            rank_zero_info("note: the checkpoint was adapted by mobanet.adapt; its statistics of scenarios stay behind")
        if self.network.apart and saved["network"].get("incomplete", "shared") == "shared":
            saved["network"] = {**saved["network"], "incomplete": "own"}
            apart = [name for name in self.state_dict() if name.startswith(_INCOMPLETE)]
            copied = {name: state.get(name.replace(_INCOMPLETE, _NETWORK, 1)) for name in apart}
            state |= {name: value for name, value in copied.items() if value is not None}
        check_architecture(saved, self.hparams)
        check_finite_weights(state, "the checkpoint")
        self.load_state_dict(self._completed(checkpoint, state))
        self._replaced_by(checkpoint)

    def _check_finite(self, state: Mapping[str, Any]) -> None:
        without = backbone_tensors(state).keys() if self.leaves_out else ()
        written = {name: value for name, value in state.items() if name not in without}
        if self._trainer is None:
            check_finite_weights(written, "this model")
        else:
            check_trained(self.trainer, written)

    def _completed(self, checkpoint: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's weights with those of the backbone that it leaves out, which are this module's own."""
        own, without = self.state_dict(), left_out(checkpoint)
        if without is not None:
            check_fingerprint(without, self.backbone_fingerprint(), self.settings.backbone)
            state = {**backbone_tensors(own), **state}
        state = with_temperatures(state, len(self.scenarios))
        check_names(state.keys(), own.keys())
        if (problem := temperature_trouble(state)) is not None:
            raise UserError(f"the checkpoint cannot be used: {problem}; take another checkpoint of the run.")
        return dict(state)

    def _replaced_by(self, checkpoint: Mapping[str, Any]) -> None:
        """A backbone that came out of a checkpoint is in no other place for certain."""
        if left_out(checkpoint) is None:
            self.leaves_out, self._fingerprint = False, None
