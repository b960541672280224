"""CBC and CBC-SLP, the other networks of the scenario paper (arXiv 2605.20372)."""
