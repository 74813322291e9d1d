"""Readers and builders of training data, one module per kind of input."""
