"""Frozen vision transformers: their names, weights, families, and the four stages that adapters reach."""
