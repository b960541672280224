"""CMX with three modalities, as the scenario paper trains it (arXiv 2605.20372)."""
