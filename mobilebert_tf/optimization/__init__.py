"""Optimizers of pre-training, with rates per block."""
