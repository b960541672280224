"""Pictures with matplotlib: windows and their predictions, scenarios, scores, calibration, degraded sensors."""
