"""A run's folder: what is recorded in it, how a run ends and goes on, and opening it again."""
