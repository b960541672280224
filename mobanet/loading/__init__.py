"""Checkpoints opened: their content looked at by what the module of this package takes, and the module itself."""
