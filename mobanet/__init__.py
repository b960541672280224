"""Multimodal remote-sensing segmentation on vision foundation models, robust to missing sensors."""

__version__ = "0.1.0"
