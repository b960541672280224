"""The LightningModule and what it trains with: losses, metrics, optimiser, checkpoints, figures."""
