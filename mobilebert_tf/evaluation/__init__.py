"""Metrics, computed by scikit-learn on whole evaluation sets."""
