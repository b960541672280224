"""The LightningModule: a network with its masking, losses, optimiser and evaluation by sliding windows."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, is_dataclass, replace
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer

from mobanet.checkpoints.averaging import ends_unvalidated, go_on_averaging
from mobanet.checkpoints.checkpoint import check_same_code, check_trained_parts
from mobanet.checkpoints.checkpointing import Checkpointing
from mobanet.checkpoints.exact import moving
from mobanet.checkpoints.frozen import fetched_for_checkpoint, has_source
from mobanet.checkpoints.reading import read_for
from mobanet.checkpoints.resumable import check_optimizers
from mobanet.data.attached import data_of
from mobanet.data.batch import StoredBatch
from mobanet.data.description import DataDescription
from mobanet.errors import SettingError, UserError, as_options, check_setting
from mobanet.evaluation.evaluation import Evaluation
from mobanet.evaluation.metrics import Scores
from mobanet.evaluation.temperature import TEMPERATURES, known_temperatures
from mobanet.lightning_internals import callbacks_of, syncs_batch_norm
from mobanet.models.backbones.stages import Backbone, BackboneSettings
from mobanet.models.base import SegmentationOutput, check_unsynced
from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.draws import HostCopy, rounding, sent
from mobanet.models.inputs import ModelBatch
from mobanet.models.lora import LoRASettings, add_lora, still_frozen_statistics
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.models.own_pixels import finer
from mobanet.models.precision import weight_dtype
from mobanet.models.registry import NetworkSettings, path_of
from mobanet.plain.schema import to_plain
from mobanet.rasters.contents import ratios_of
from mobanet.scenarios.callback import steps_per_epoch, turn_of
from mobanet.scenarios.masking import MaskingSettings, draw_masks, mask_streams, spare_pixels
from mobanet.scenarios.sampling import draw_availability, draw_for_batch, share_availability, share_batches
from mobanet.scenarios.scenario import Scenario, scenario_masks, usual_scenarios
from mobanet.training.class_weights import ClassWeighting, initial_weights, settle_class_weights
from mobanet.training.divergence import DivergenceStop
from mobanet.training.fused import Fused, takes_fused_steps
from mobanet.training.groups import check_backbone_lr, learning_rates, undecayed_parameters
from mobanet.training.inputs import model_batch
from mobanet.training.losses import auxiliary_loss
from mobanet.training.objective import LossSettings, Objective
from mobanet.training.optim import OptimizerSettings, ScheduleSettings, parameter_groups
from mobanet.training.own_optimizer import OptimizerChoice, ScheduleChoice
from mobanet.training.reached import ReachedParts
from mobanet.training.streams import streams_of


class SegmentationModule(LightningModule):
    """Trains and evaluates a network on batches of `mobanet.data.RasterDataModule`.

    Args:
        data: modalities and classes, from the data module; a plain dict from a checkpoint.
        architecture: mobanet, cmx (with --model.cmx), cbc or cbc_slp (with --model.cbc); or the import path of a
            network of your own, package.module.Class (with --model.arguments), a subclass of `SegmentationModel`.
        backbone: MoBaNet's vision transformer, its weights, and whether it is frozen.
        streams: the modalities of each stream, one to eight (CMX: two); null puts optical ones into `optical` and the
            rest into `elevation`. MCRM masks by stream, whatever the architecture.
        network: MoBaNet's trainable parts.
        cmx: the network CMX.
        cbc: the networks CBC and CBC-SLP.
        arguments: of a network of your own, by name: what its `Settings` take.
        lora: low-rank additions to frozen layers.
        masking: modality-conditional random masking (MCRM).
        schedule: of the learning rate.
        auxiliary_weight: of each stream's cross-entropy on hard pixels; 0 leaves the auxiliary heads out.
        class_weights: of pixels by their class, and of classes in losses of regions, one a class; null for all alike;
            or by the training tiles' labels: inverse, inverse_root, effective, or auto for inverse_root.
        loss: cross_entropy; bce, of each class against the rest (of two classes, the second's probability alone, as in
            the scenario paper); bce_on_probabilities, with that paper's second sigmoid; dice, focal, lovasz, tversky,
            boundary_cross_entropy; a sum, {cross_entropy: 1, dice: 0.5}; or your own by its import path.
        optimizer: adamw; adam, whose weight decay is part of the gradient; or a class by its import path, such as
            torch.optim.SGD, or {class_path: torch.optim.SGD, init_args: {momentum: 0.9}}.
        fused: whether the optimiser's step is one kernel over all parameters, equal to rounding; auto: on CUDA GPUs,
            but for mixed precisions with --trainer.gradient_clip_val.
        lr: learning rate of the optimiser.
        backbone_lr: learning rate of a backbone, or of the encoders of CMX and CBC, that is trained; null for the same.
        weight_decay: on parameters with more than one dimension.
        recompute_blocks: whether a backward pass runs the backbone's blocks once more, so that a forward pass keeps
            less: gradients are the same, memory is less, steps take longer.
        compile: whether to run the network through torch.compile.
        seed: of masking and dropout.
        restored: whether all weights come from a checkpoint, so that no pretrained ones are looked for; `trained`
            where they do but for a frozen backbone's.

    Attributes:
        network: the model.
        scenarios: those of the data that are sampled, the last the full one (`usual_scenarios`).
        evaluation: scenarios by stage, and what was found in them.
        checkpointing: whether checkpoints leave the backbone out, and how they are read.
        adapted: names of the network's layers that have low-rank additions.
        temperatures: by which probabilities are calibrated, (S,), one for each of `scenarios`, fitted at the latest
            validation of the weights at hand; NaN where there was none. Part of every checkpoint.

    Raises:
        UserError: for settings that do not fit the data or each other.
    """

    class_weights: Tensor | None
    scenario_masks: Tensor
    scenario_probabilities: Tensor
    temperatures: Tensor

    def __init__(
        self,
        data: DataDescription | dict[str, Any],
        architecture: str = "mobanet",
        backbone: BackboneSettings = BackboneSettings(),  # noqa: B008 - copied
        streams: dict[str, list[str]] | None = None,
        network: MoBaNetSettings = MoBaNetSettings(),  # noqa: B008
        cmx: CMXSettings = CMXSettings(),  # noqa: B008
        cbc: CBCSettings = CBCSettings(),  # noqa: B008
        arguments: dict[str, Any] = {},  # noqa: B006
        lora: LoRASettings = LoRASettings(rank=0),  # noqa: B008
        masking: MaskingSettings = MaskingSettings(),  # noqa: B008
        schedule: ScheduleSettings = ScheduleSettings(),  # noqa: B008
        auxiliary_weight: float = 0.01,
        class_weights: list[float] | ClassWeighting | None = None,
        loss: LossSettings = "cross_entropy",
        optimizer: OptimizerSettings = "adamw",
        fused: Fused = "auto",
        lr: float = 2e-4,
        backbone_lr: float | None = None,
        weight_decay: float = 0.05,
        recompute_blocks: bool = False,
        compile: bool = False,
        seed: int = 42,
        restored: bool | Literal["trained"] = False,
    ) -> None:
        super().__init__()
        # before the network, whose weights may have to be downloaded first
        _check_rates(lr=lr, backbone_lr=backbone_lr, weight_decay=weight_decay, auxiliary_weight=auxiliary_weight)
        self.pixel_loss = Objective(loss, bring=not restored)
        self.optimizer_choice = OptimizerChoice(optimizer, bring_now=not restored)
        self.optimizer_choice.check_fused(fused)
        # a checkpoint hands plain dicts back
        self.data = data if isinstance(data, DataDescription) else DataDescription.from_plain(data)
        network = _revived(MoBaNetSettings, network)
        # of the weight 0 they would learn nothing, cost time, and shrink by weight decay
        network = replace(network, auxiliary_heads=network.auxiliary_heads and auxiliary_weight > 0)
        self.settings = NetworkSettings(
            path_of(architecture) if isinstance(architecture, type) else architecture,
            _revived(BackboneSettings, backbone),
            network,
            _revived(CMXSettings, cmx),
            _revived(CBCSettings, cbc),
            dict(arguments),
        )
        self.lora = _revived(LoRASettings, lora)
        self.masking = _revived(MaskingSettings, masking)
        self.schedule = _revived(ScheduleSettings, schedule)
        self.schedule_choice = ScheduleChoice(self.schedule, bring_now=not restored)
        self.streams = streams_of(self.data, streams)
        self.auxiliary_weight, self.compile_network, self.seed = auxiliary_weight, compile, seed
        self.fused: Fused = fused
        self.lr, self.backbone_lr, self.weight_decay = lr, lr if backbone_lr is None else backbone_lr, weight_decay
        # plain values, not the arguments: a checkpoint is read with weights_only, which knows no dataclasses of ours
        self.save_hyperparameters(
            {
                "data": self.data.to_plain(),
                "streams": {name: list(members) for name, members in self.streams.items()},
                **to_plain(asdict(self.settings)),
                "lora": asdict(self.lora),
                "masking": asdict(self.masking),
                "schedule": asdict(self.schedule),
                "auxiliary_weight": auxiliary_weight,
                "class_weights": to_plain(class_weights) if class_weights else None,
                "loss": to_plain(self.pixel_loss.settings),
                "optimizer": to_plain(self.optimizer_choice.settings),
                "fused": fused,
                "lr": lr,
                "backbone_lr": backbone_lr,
                "weight_decay": weight_decay,
                "recompute_blocks": recompute_blocks,
                "compile": compile,
                "seed": seed,
                "restored": True,
            },
            logger=False,
        )
        bands = {m.name: len(m.bands) for m in self.data.modalities}
        start = self.settings.restored() if restored is True else self.settings
        with fetched_for_checkpoint(start.backbone) if restored == "trained" else nullcontext():
            self.network = start.build(
                {stream: {name: bands[name] for name in members} for stream, members in self.streams.items()},
                bands,
                len(self.data.classes),
                ratios_of(self.data.modalities),
            )
        inner = getattr(self.network, "backbone", None)
        around = isinstance(inner, Backbone)
        if isinstance(inner, Backbone):
            inner.recomputes = recompute_blocks
        elif recompute_blocks:
            raise SettingError(
                "recompute_blocks",
                f"is for networks around a transformer, and {self.settings.architecture} is none; leave it out.",
            )
        # by `start`: of a module that is restored whole the backbone has no source but its checkpoint
        self.checkpointing = Checkpointing(around and start.backbone.freeze and has_source(start.backbone))
        # after the weights are in, which go by names that peft changes
        self.adapted = add_lora(self.network, self.lora) if self.lora.rank else []
        if self.lora.freeze_rest:
            still_frozen_statistics(self.network)  # Lightning keeps the modes that parts start in
        weights = initial_weights(class_weights, self.data.classes.names)
        self.register_buffer("class_weights", weights, persistent=False)  # a setting: checkpoints have it as one
        self.scenarios = usual_scenarios([m.name for m in self.data.modalities])
        self.evaluation = Evaluation(self.data, compile)
        self.register_buffer(TEMPERATURES, torch.full((len(self.scenarios),), math.nan))
        self.register_buffer("scenario_masks", scenario_masks(self.scenarios), persistent=False)
        # in every checkpoint, so that a run resumed within an epoch goes on with them; the callback sets them
        self.register_buffer("scenario_probabilities", torch.tensor([float(s.full) for s in self.scenarios]))
        # draws are made on the CPU: with copies there, no step waits for a GPU
        self._host_probabilities, self._host_masks, self._reached = HostCopy(), HostCopy(), ReachedParts()
        self.exact_scenario_shares, self.has_learnt, self.complete_rests = False, False, False
        """Whether each batch sees scenarios in these very shares, rather than each sample one of its own; the callback
        sets it, and a resumed run has it from its settings."""

    def forward(
        self, inputs: dict[str, Tensor], available: Tensor | None = None, auxiliary: bool | None = None
    ) -> SegmentationOutput:
        """See `mobanet.models.base.SegmentationModel.forward`."""
        return self.network(inputs, available, auxiliary)

    def predict_scenarios(self, batch: ModelBatch, scenarios: Sequence[Scenario]) -> Iterator[Tensor]:
        """Logits (B, K, H, W), float32, of a batch in each scenario; see `Evaluation.predict`."""
        return self.evaluation.predict(self.network, batch, scenarios)

    # set-up

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SegmentationModule":
        """Move or convert the weights; scenario probabilities, temperatures, class weights move, and stay in float32.

        The backbone's fingerprint is taken before its weights become others.
        """
        self.checkpointing.before_change(fn, self)
        exact = {name: moving(fn)(buffer) for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        self._buffers.update(exact)
        return self

    def configure_callbacks(self) -> list[Callback]:
        """What no training goes without, whoever makes the trainer."""
        # of an earlier call
        there = any(isinstance(callback, DivergenceStop) for callback in callbacks_of(self.trainer))
        return [] if there else [DivergenceStop()]

    def train(self, mode: bool = True) -> "SegmentationModule":
        """Switch between training and eval mode; statistics of normalisations that LoRA froze stay as they are."""
        super().train(mode)
        if self.lora.freeze_rest:
            still_frozen_statistics(self.network)
        return self

    def setup(self, stage: str) -> None:
        """Compile, if asked for; the state dict's keys stay as they are."""
        if stage == "fit":
            # without a trainer, as where a network is compiled only, nothing is synchronised
            if self._trainer is not None and syncs_batch_norm(self._trainer):
                check_unsynced(self.network)
            self.checkpointing.before_training(self)
        if stage == "fit" and isinstance(self.hparams["class_weights"], str):  # else there may be no trainer
            settle_class_weights(self, data_of(self.trainer))
        if self.compile_network:
            self.network.compile_steps()

    def configure_optimizers(self) -> Any:
        """The optimiser, with warm-up and what follows it over the trainer's epochs or steps."""
        groups = self.check_trainable()
        choice = self.optimizer_choice
        # `fused` is of AdamW and Adam; of others it may be among their init_args
        fused = not choice.own and takes_fused_steps(self.fused, self.trainer)
        optimizer = choice.make(groups, weight_dtype(self.trainer.precision), fused)
        steps = self.trainer.estimated_stepping_batches
        per_epoch = steps_per_epoch(self.trainer)
        total = steps if self.schedule.every == "step" else steps / per_epoch
        epoch = per_epoch if self.schedule.every == "step" else 1.0  # in steps of the schedule
        turn = turn_of(self.trainer)
        warmup = self.schedule.warmup_epochs * epoch
        if warmup >= total:  # the run would end before it has reached its learning rate
            warmup = total / 5
            rank_zero_info(
                f"the warm-up of {self.schedule.warmup_epochs:g} epochs is no shorter than the run; it takes the first "
                "fifth instead (--model.schedule.warmup_epochs)"
            )
        scheduler = self.schedule_choice.make(optimizer, warmup, total, epoch, turn and turn * epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self.schedule.every}}

    @property
    def has_own_optimizers(self) -> bool:
        """Whether a subclass, or this object, has a `configure_optimizers` of its own."""
        return getattr(self.configure_optimizers, "__func__", None) is not SegmentationModule.configure_optimizers

    def _parameter_groups(self) -> list[dict[str, Any]]:
        undecayed = undecayed_parameters(self.network)
        return parameter_groups(
            self.network.named_parameters(), self.lr, self.backbone_lr, self.weight_decay, undecayed
        )

    def check_trainable(self) -> list[dict[str, Any]]:
        """The groups of parameters to train.

        Raises:
            UserError: when there is none, or a setting of the optimiser would change nothing.
        """
        check_setting(
            not self.settings.network.scenario_statistics,
            "network.scenario_statistics",
            "is not for training, which would move the weights that mobanet.adapt took batch statistics with: leave it "
            "out, and begin from a checkpoint with --init_from.",
        )
        groups = self._parameter_groups()
        if not groups:
            raise UserError(as_options("nothing in this model can be trained; set `backbone.freeze` false."))
        check_backbone_lr(self.hparams["backbone_lr"], groups)
        return groups

    def check_steps(self) -> None:
        """Refuse an optimiser or a schedule by its import path that cannot be made of its arguments.

        Raises:
            UserError: as `OptimizerChoice.make` and `ScheduleChoice.make`.
        """
        if (self.optimizer_choice.own or self.schedule.own) and not self.has_own_optimizers:
            # made to see whether it can be, and dropped; so that lengths are any
            optimizer = self.optimizer_choice.make(self.check_trainable())
            self.schedule_choice.make(optimizer, warmup=0.0, total=1.0, epoch=1.0)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scale and standardise on the device."""
        return model_batch(batch, self.network.standardization) if isinstance(batch, Mapping | StoredBatch) else batch

    # training

    def on_train_start(self) -> None:
        """Let averages of the weights go on where they were."""
        go_on_averaging(self.trainer, self)

    def on_train_batch_start(self, batch: ModelBatch, batch_idx: int) -> None:
        """Make dropout a function of seed, epoch, batch and rank, so that a resumed run draws what it would have."""
        torch.manual_seed(self._step_seed(batch_idx))  # of all devices
        self.temperatures.fill_(math.nan)  # of the weights before this step

    def training_step(self, batch: ModelBatch, batch_idx: int) -> Tensor:
        """Drawn scenarios, masked inputs in them, the loss, and the auxiliary losses on hard pixels."""
        known = self._drawn(batch, batch_idx)
        available = sent(known, batch.available.device)
        if self.network.apart:
            reached = known.new_ones(known.shape) if self.network.joined else known
            self._reached.note(reached, available.device, ranks=self.trainer.world_size > 1)
        inputs = self._masked(batch, available, batch_idx)
        output = self.network(inputs, known if self.network.parts_samples else available)
        terms = self.pixel_loss.terms(output.logits, batch.label, self.class_weights)
        for name, value in zip(self.pixel_loss.names, terms, strict=True):
            self.log(f"train/{name}", value.detach(), batch_size=len(batch.tiles))
        loss = self.pixel_loss.total(terms)
        present = self._present(available)
        auxiliary = auxiliary_loss(
            output.auxiliary, output.logits, batch.label, self.class_weights, present, self.pixel_loss
        )
        for stream, value in auxiliary.items():
            self.log(f"train/auxiliary_{stream}", value.detach(), batch_size=len(batch.tiles))
            # not in place: `loss` may be a term that is logged by itself
            loss = loss + self.auxiliary_weight * value
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.tiles))
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave parts of the network that saw no sample of this step as they are: no momentum, no weight decay.

        Once only incomplete samples are to come, so is what both kinds share and is trained, such as a backbone: it has
        to stay what the parts for complete samples have learnt with.
        """
        for parts in self.network.idle_parts(self._reached.read()):
            for parameter in parts.parameters():
                # optimisers pass these over; with a gradient of 0, AdamW would still decay and move them
                parameter.grad = None
        if self.complete_rests:
            for name, parameter in self.network.named_parameters():
                if not name.startswith("incomplete."):
                    parameter.grad = None

    def on_train_end(self) -> None:
        """Know no temperature of weights that were put in place as the training ended."""
        self.has_learnt = True
        if ends_unvalidated(self.trainer):
            self.temperatures.fill_(math.nan)

    def on_train_epoch_start(self) -> None:
        """Log the epoch's learning rates."""
        made = self.optimizers()
        groups = [group for each in (made if isinstance(made, list) else [made]) for group in each.param_groups]
        self.log_dict({f"train/{name}": rate for name, rate in learning_rates(groups).items()})

    def _masked(self, batch: ModelBatch, available: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """The inputs without the blocks that MCRM takes, which are of what is available."""
        # a block is filled in from the other stream, and a single one has none
        if self.masking.ratio == 0 or len(self.streams) < 2:
            return batch.inputs
        # + 1 to + 5, here and below, keep draws of one step apart; without any it is dropout's
        generator = torch.Generator().manual_seed(self._step_seed(batch_idx) + 1)
        height, width = batch.label.shape[1:]
        valid = {name: finer(x, self.network.pixel_ratios.get(name, 1)) for name, x in batch.valid.items()}
        spare = spare_pixels(available, valid, self.streams, list(batch.inputs))
        at = rounding(self._step_seed(0) + 3, batch_idx)
        return mask_streams(batch.inputs, draw_masks(spare, height, width, self.masking, generator, at), self.streams)

    def _present(self, available: Tensor) -> dict[str, Tensor]:
        """By stream, (B,) bool: the samples that have anything of it."""
        there = dict(zip((m.name for m in self.data.modalities), available.unbind(1), strict=True))
        return {stream: torch.stack([there[name] for name in own]).any(0) for stream, own in self.streams.items()}

    def _drawn(self, batch: ModelBatch, batch_idx: int) -> Tensor:
        """(B, M) bool on the CPU, what is left of each sample's modalities: decided there, no device is waited for."""
        generator = torch.Generator().manual_seed(self._step_seed(batch_idx) + 2)
        known = batch.available.cpu() if batch.known is None else batch.known  # None: not from our own loader
        shares, masks = (
            self._host_probabilities.of(self.scenario_probabilities),
            self._host_masks.of(self.scenario_masks),
        )
        given, own, whole = (shares, masks, known, generator), self._step_seed(0) + 4, self.network.one_scenario_a_batch
        if self.exact_scenario_shares and self.network.apart:
            # rank 0's seed on every rank: which batches are complete has to be agreed on
            return share_batches(*given, self._step_seed(0, rank=0) + 5, batch_idx, own, one_scenario=whole)
        if whole:
            return draw_for_batch(shares, masks, known, rounding(own, batch_idx))
        if self.exact_scenario_shares:
            return share_availability(*given, rounding(own, batch_idx))
        return draw_availability(*given)

    def _step_seed(self, batch_idx: int, rank: int | None = None) -> int:
        # distinct products of odd constants: neighbouring epochs, batches and ranks never share a stream
        epoch, rank = self.current_epoch, self.global_rank if rank is None else rank
        # 2^64 by the golden ratio (SplitMix64), and three of the primes of xxHash64
        mixed = self.seed * 0x9E3779B97F4A7C15 + epoch * 0xC2B2AE3D27D4EB4F + batch_idx * 0x165667B19E3779F9
        return (mixed + rank * 0x27D4EB2F165667C5) % 2**62

    # evaluation

    def evaluate_on(self, **stages: str | Sequence[str]) -> None:
        """Choose the scenarios that `validation` and `test` evaluate; see `Evaluation.choose`."""
        self.evaluation.choose(**stages)

    @property
    def scores(self) -> dict[str, dict[str, Scores]]:
        """Latest figures, by stage (`validation`, `test`) and scenario."""
        return {stage: found.scores for stage, found in self.evaluation.found.items()}

    @property
    def known_temperatures(self) -> dict[str, float]:
        """Those of `temperatures` that were fitted, by name of the scenario."""
        return known_temperatures(self.temperatures, [scenario.name for scenario in self.scenarios])

    def on_validation_epoch_start(self) -> None:
        """Start empty confusion matrices on equal weights everywhere."""
        self.evaluation.begin("validation", self)

    def on_test_epoch_start(self) -> None:
        """Start empty confusion matrices on equal weights everywhere."""
        self.evaluation.begin("test", self)

    # Lightning hands on whatever a step returns, and names less
    def validation_step(self, batch: ModelBatch, batch_idx: int) -> Any:
        """Sum logits over windows and count finished rows, which come back as a list of `Strip`."""
        return self.evaluation.take(batch, "validation", self)

    def test_step(self, batch: ModelBatch, batch_idx: int) -> Any:
        """Sum logits over windows and count finished rows, which come back as a list of `Strip`."""
        return self.evaluation.take(batch, "test", self)

    def predict_step(self, batch: ModelBatch, batch_idx: int) -> dict[str, Any]:
        """Logits of the test tiles' windows, for `Trainer.predict`; whole maps are `mobanet.predict`'s.

        Returns:
            `tile`: ids; `window`: (B, 4) top, left, height, width in pixels; `logits`: (B, K, H, W) float32, each
            sample with all it has. Lightning keeps all of it in memory unless told `return_predictions=False`.
        """
        (logits,) = self.predict_scenarios(batch, self.scenarios[-1:])  # the full one comes last
        there = [bool(tile) for tile in batch.tiles]  # windows that make the ranks' shares equally long are not
        return {"tile": [*filter(None, batch.tiles)], "window": batch.windows[there], "logits": logits[there]}

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation tiles."""
        self.evaluation.conclude("validation", self)

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test tiles."""
        self.evaluation.conclude("test", self)

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `Checkpointing.write`."""
        self.checkpointing.write(checkpoint, self, self._trainer)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `Checkpointing.read`."""
        self.checkpointing.read(checkpoint, self, self._trainer)
        self.has_learnt = True

    def check_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """See `Checkpointing.check`."""
        self.checkpointing.check(checkpoint, self)

    def begin_from(self, checkpoint: Mapping[str, Any]) -> None:
        """See `Checkpointing.begin_from`."""
        self.checkpointing.begin_from(checkpoint, self)
        self.has_learnt = True

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Any:
        """As Lightning's, through the door that all commands take; what a subclass adds to the settings is its own.

        Raises:
            UserError: as `read_for`.
        """
        if cls is SegmentationModule and isinstance(checkpoint_path, str | os.PathLike):
            read_for(SegmentationModule, os.fspath(checkpoint_path), "checkpoint")
        return super().load_from_checkpoint(checkpoint_path, *args, **options)

    def bring(self) -> None:
        """Import what the settings name of code that is not the package's: what the user, not a checkpoint, has named.

        Raises:
            UserError: when it is not there, or is nothing of that kind.
        """
        # not the network's class, without which there would be no module to call this of
        for choice in (self.pixel_loss, self.optimizer_choice, self.schedule_choice):
            choice.bring()

    def check_resumable(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse to train on from a checkpoint in which other parts were trained.

        Raises:
            UserError: when that is so, or the architecture or the backbone is another.
        """
        self.check_checkpoint(checkpoint)
        if not self.has_own_optimizers:
            groups = self._parameter_groups()
            # before states are looked at, whose shapes differ where their classes do
            check_same_code(checkpoint["hyper_parameters"], self.hparams)
            check_optimizers(checkpoint, groups, shapes=not self.optimizer_choice.own)
            check_trained_parts(checkpoint, groups)


def _check_rates(**values: float | None) -> None:
    for name, value in values.items():
        check_setting(value is None or 0 <= value < math.inf, name, f"is {value}; give a number of at least 0.")


def _revived(kind: type, value: Any) -> Any:
    # a copy: a default is one object for all modules, and a caller may go on with what was given
    return deepcopy(value) if is_dataclass(value) else kind(**value)
