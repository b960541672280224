"""From prepared tiles to batches: crops, augmentation, scaling, and the LightningDataModule."""
