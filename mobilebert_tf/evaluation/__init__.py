"""Predictions and metrics on whole evaluation sets."""
