"""Request → estimate: features, cold-start prior, cost model, calibration."""
