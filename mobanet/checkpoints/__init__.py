"""Checkpoints: what is written and left out, what a file may hold, and models read from them again."""
