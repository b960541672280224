"""What happens in a step: the LightningModule with its inputs, losses, optimiser and schedules."""
