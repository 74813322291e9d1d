"""Results as a run would have recorded them, of latencies of our choice."""

from android_benchmark import latency_statistics
from android_benchmark import results


def make(latencies_us, *, number=0, model="a.tflite", **changes):
    """Returns the result of one round of single latencies."""
    fields = {
        "record": results.ROUND,
        "status": results.OK,
        "error": None,
        "notes": (),
        "model": model,
        "model_path": f"/models/{model}",
        "model_sha256": model,
        "model_size_bytes": 1000,
        "device": "serial",
        "device_model": "Pixel 4",
        "backend": "benchmark_model",
        "tool": "t",
        "plan": "p",
        "threads": 4,
        "core_mask": "f0",
        "delegate": "xnnpack",
        "round": number,
        "rounds_measured": 1,
        "started_at": "2026-01-01T00:00:00+00:00",
        "measurement": results.Measurement(
            latency=latency_statistics.summarize(latencies_us),
            percentiles="samples",
            latencies_us=tuple(latencies_us),
            warmup_count=1,
            first_inference_us=1.0,
            init_us=1.0,
            peak_memory_bytes=None,
            peak_memory_delta_bytes=None,
        ),
    }
    return results.Result(**(fields | changes))


def rounds(medians_us, **changes):
    """Returns a round per median."""
    return [
        make([median - 1, median, median + 1], number=i, **changes)
        for i, median in enumerate(medians_us)
    ]
