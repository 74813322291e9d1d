"""Latency of .tflite models on Android devices (adb) and on this machine.

`android_benchmark.benchmark.run(config)` is the library's entry;
`run_benchmark.py` is the binary. Nothing here imports TensorFlow.
"""
