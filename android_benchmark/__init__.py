"""Latency of .tflite files on phones over adb, and on this machine."""
