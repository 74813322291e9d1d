"""Latency of .tflite models on Android devices (adb) and on this machine.

`android_benchmark.benchmark.run(config)` is the library's entry;
`run_benchmark.py` is the binary. Nothing here imports TensorFlow.

    what to measure   benchmark_config, model_file, delegates
    on a device       phone, adb, device, device_state, device_guard,
                      tool_binary, benchmark_model; fleet for several
    on this machine   host, host_worker
    reading the tool  tool_output, tool_lines, tool_report, op_profile,
                      result_proto; read_log is their binary
    results           results, result_file, latency_statistics, comparison,
                      single_stream, exported_accuracy
    for people        latency_report, latency_plots
"""
