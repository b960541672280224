"""What a model is worth in every scenario: metrics, tables, calibration, degraded sensors, maps of test tiles."""
