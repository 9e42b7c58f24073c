"""Measuring: how good the predictions are, whether the log is sound, how fast the service is."""
