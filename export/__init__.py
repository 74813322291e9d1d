"""Deployment: weights in, verified .tflite files out."""
