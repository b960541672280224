"""Pretrain the small vision transformer that ships with this package, on synthetic cities of its own.

    python experiments/pretraining/pretrain.py [--out runs/pretraining] [--steps 2200] [--workers 0]

It learns what a foundation model of this small world should know: from any three bands (colour, infrared, heights,
permuted or one repeated, with patches blanked) to tell the class of every pixel, all optical bands and the height.
Supervised, that is, on several targets; from random weights. The cities are drawn with seeds and pixel sizes that no
demo, test or other experiment here uses. It can be interrupted: the same command goes on from the last checkpoint.
At its end it writes the transformer alone, in half precision, as safetensors, and prints its fingerprint.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import CombinedLoader
from safetensors.torch import save_file
from torch import Tensor, nn

from mobanet.data.augment import AugmentationSettings
from mobanet.data.datamodule import RasterDataModule
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import NUM_STAGES, BackboneSettings
from mobanet.models.base import Standardization
from mobanet.models.inputs import ModelBatch
from mobanet.synthetic import synthesize
from mobanet.training.inputs import model_batch
from mobanet.training.losses import segmentation_loss

SIZE = {"depth": 4, "embed_dim": 128, "num_heads": 4, "patch_size": 6, "img_size": 120}
CITIES = {0.16: 71, 0.2: 72, 0.32: 73, 0.4: 74}
"""Seeds by metres a pixel; the demo, the tests and the comparisons have other seeds and 0.25 m."""

TILES, TILE_SIZE = 30, 512
CROP, BATCH = 120, 2
"""Of each city in a step."""

LEARNING_RATE, WARM_UP = 1e-3, 300
MIDDLE = Standardization((0.5,) * 3, (0.5,) * 3)
CLASS_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 5.0, 2.0)


class Cities(LightningDataModule):
    """Batches of each city in turn, drawn on the first use.

    Args:
        root: where the cities lie.
        steps: of the training.
        workers: processes that read crops, for each city.
    """

    def __init__(self, root: Path, steps: int, workers: int) -> None:
        super().__init__()
        self.root, self.cities = root, {}
        for gsd, seed in CITIES.items():
            self.cities[f"{gsd:g}"] = RasterDataModule(
                str(root / f"{gsd:g}"),
                modalities=["rgb", "ir", "dsm"],
                scaling={"rgb": "unit", "ir": "unit", "dsm": "ground"},
                crop=CROP,
                batch_size=BATCH,
                # one epoch is all of the training
                steps_per_epoch=steps,
                sampling="area",
                seed=seed,
                augmentation=AugmentationSettings(flips=True, turns=True, colour=0.2),
                num_workers=workers,
            )

    def prepare_data(self) -> None:
        """Draw what is missing, and prepare its tiles."""
        for (gsd, seed), data in zip(CITIES.items(), self.cities.values(), strict=True):
            synthesize("potsdam", self.root / f"{gsd:g}", TILES, TILE_SIZE, seed=seed, gsd=gsd)
            data.prepare_data()

    def setup(self, stage: str) -> None:
        """Open the tiles."""
        for data in self.cities.values():
            # Lightning does so for the module that it is given, and knows nothing of those within
            data.trainer = self.trainer
            data.setup(stage)

    def train_dataloader(self) -> CombinedLoader:
        """A batch of each city, in one."""
        return CombinedLoader({name: data.train_dataloader() for name, data in self.cities.items()}, "min_size")


class Pretraining(LightningModule):
    """A vision transformer with a linear reader of pixels after each of its four stages.

    Args:
        classes: number of classes.
        steps: of the training, for the schedule.
    """

    def __init__(self, classes: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        settings = BackboneSettings("vit_tiny_patch16_224", pretrained=False, freeze=False, options=dict(SIZE))
        self.backbone = build_backbone(settings)
        self.classes, self.patch = classes, self.backbone.patch_size
        self.targets = classes + 5  # red, green, blue, infrared, height
        self.readers = nn.ModuleList(
            nn.Linear(self.backbone.width, self.patch**2 * self.targets) for _ in range(NUM_STAGES)
        )
        self.register_buffer("class_weights", torch.tensor(CLASS_WEIGHTS), persistent=False)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> list[ModelBatch]:
        """Scale on the device, each city by its own heights."""
        return [model_batch(part, {"rgb": MIDDLE, "ir": Standardization((0.5,), (0.5,))}) for part in batch.values()]

    def training_step(self, batch: list[ModelBatch], batch_idx: int) -> Tensor:
        """Any three bands in; class, bands and height of every pixel out."""
        # a step's draws are its number's alone, so that a run that goes on draws what it would have drawn
        generator = torch.Generator().manual_seed(batch_idx)
        optical = torch.cat([torch.cat((part.inputs["rgb"], part.inputs["ir"]), 1) for part in batch])  # (B, 4, H, W)
        height = torch.cat([part.inputs["dsm"] for part in batch])  # (B, 1, H, W)
        label = torch.cat([part.label for part in batch])
        wanted = torch.cat((optical, height.clamp(-3, 6)), 1)  # a crane or a pit is no lesson
        images = self.blanked(self.chosen(wanted, generator), generator)
        loss = optical.new_zeros(())
        for reader, tokens in zip(self.readers, self.taps(images), strict=True):
            read = F.pixel_shuffle(reader(tokens).permute(0, 3, 1, 2), self.patch)  # (B, K + 5, H, W)
            classes = segmentation_loss(read[:, : self.classes], label, self.class_weights)
            bands = F.smooth_l1_loss(read[:, self.classes :], wanted)
            loss = loss + (classes + bands) / NUM_STAGES
        self.log_dict({"classes": classes.detach(), "bands": bands.detach()}, prog_bar=True, batch_size=len(images))
        right = (read[:, : self.classes].argmax(1) == label)[label >= 0].float().mean()
        self.log("accuracy", right, prog_bar=True, batch_size=len(images))
        return loss

    def chosen(self, bands: Tensor, generator: torch.Generator) -> Tensor:
        """Three of each sample's bands, (B, 5, H, W) -> (B, 3, H, W): colour, heights, any optical three, or one."""
        kinds = torch.rand(len(bands), generator=generator)
        picks = torch.empty(len(bands), 3, dtype=torch.long)
        for number, kind in enumerate(kinds.tolist()):
            if kind < 0.3:
                pick = torch.tensor([0, 1, 2])
            elif kind < 0.6:
                pick = torch.tensor([4, 4, 4])
            elif kind < 0.8:
                pick = torch.randperm(4, generator=generator)[:3]
            else:  # infrared as often as the three visible bands together
                pick = torch.tensor([0, 1, 2, 3, 3, 3])[torch.randint(6, (1,), generator=generator)].expand(3)
            picks[number] = pick
        return bands.gather(1, picks[:, :, None, None].expand(-1, -1, *bands.shape[2:]).to(bands.device))

    def blanked(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images of which up to half of the patches are zero."""
        rows, columns = (side // self.patch for side in images.shape[2:])
        share = 0.5 * torch.rand(len(images), 1, 1, 1, generator=generator)
        share = share * (torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5)  # half of them stay whole
        there = torch.rand(len(images), 1, rows, columns, generator=generator) >= share
        return images * F.interpolate(there.to(images), scale_factor=self.patch, mode="nearest")

    def taps(self, images: Tensor) -> list[Tensor]:
        """Normalised patch tokens after each stage, four of (B, h, w, C), as the networks here read them."""
        backbone = self.backbone
        embedded = F.conv2d(images, backbone.patch_kernel, backbone.patch_bias, stride=self.patch)
        tokens, geometry = backbone.embed(embedded.permute(0, 2, 3, 1))
        taps = []
        for stage in backbone.stages:
            for block in stage:
                tokens = backbone.block(block, tokens, geometry)
            taps.append(backbone.normalize(tokens[:, backbone.num_prefix_tokens :]).unflatten(1, geometry.grid))
        return taps

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW, a short warm-up, and a cosine to nothing."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim < 2]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], LEARNING_RATE
        )
        warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=WARM_UP)
        rest = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.steps - WARM_UP))
        schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, rest], [WARM_UP])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    """Draw the cities, train, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    seed_everything(20, verbose=False)
    data, module = Cities(options.out / "cities", options.steps, options.workers), Pretraining(6, options.steps)
    kept = ModelCheckpoint(options.out / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=200)
    trainer = Trainer(
        max_steps=options.steps,
        # without a bound: steps end it
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        gradient_clip_val=1.0,
        logger=CSVLogger(options.out, "log", ""),
        log_every_n_steps=50,
        callbacks=[kept],
        use_distributed_sampler=False,
        enable_progress_bar=False,
    )
    last = options.out / "checkpoints" / "last.ckpt"
    trainer.fit(module, data, ckpt_path=last if last.exists() else None)
    vit = module.backbone.vit
    file = options.out / "mobanet_city_vit.safetensors"
    # half precision: half the size, and a frozen backbone never sees the other bits again
    # and contiguous, as safetensors takes no others
    halves = {name: value.half().contiguous() for name, value in vit.state_dict().items()}
    save_file(halves, file)
    # back again, so that the fingerprint is that of what will be read
    vit.load_state_dict({name: value.float() for name, value in halves.items()})
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, fingerprint {module.backbone.fingerprint()}")


if __name__ == "__main__":
    main()
