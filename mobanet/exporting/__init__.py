"""Trained models for others: ONNX, exported programs, weights, and folders with a model card."""
