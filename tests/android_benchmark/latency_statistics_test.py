"""Statistics against numpy on the samples themselves."""

import numpy as np
import pytest

from android_benchmark import latency_statistics


@pytest.fixture
def samples():
    return np.random.default_rng(0).lognormal(9, 0.2, size=(3, 101))


def test_summary_equals_numpy(samples):
    summary = latency_statistics.summarize(samples[0])
    assert summary.count == 101
    assert summary.min_us == samples[0].min()
    assert summary.max_us == samples[0].max()
    np.testing.assert_allclose(summary.mean_us, np.mean(samples[0]))
    np.testing.assert_allclose(summary.std_us, np.std(samples[0]))
    np.testing.assert_allclose(summary.median_us, np.median(samples[0]))
    for percent in (5, 90, 95, 99):
        np.testing.assert_allclose(
            getattr(summary, f"p{percent}_us"),
            np.percentile(samples[0], percent),
        )


def test_combination_equals_the_pool(samples):
    parts = [samples[0], samples[1][:10], samples[2]]
    pool = np.concatenate(parts)
    summaries = [latency_statistics.summarize(part) for part in parts]
    combined = latency_statistics.combine(summaries)
    assert combined.count == pool.size
    assert (combined.min_us, combined.max_us) == (pool.min(), pool.max())
    np.testing.assert_allclose(combined.mean_us, pool.mean())
    np.testing.assert_allclose(combined.std_us, pool.std())
    assert combined.p90_us == np.median([s.p90_us for s in summaries])


def test_a_percentile_missing_in_one_round_is_missing():
    known = latency_statistics.LatencySummary(1, 1, 1, 1, 0, median_us=1)
    unknown = latency_statistics.LatencySummary(1, 1, 1, 1, 0)
    assert latency_statistics.combine([known, unknown]).median_us is None


def test_nothing_is_an_error():
    with pytest.raises(ValueError, match="got 0"):
        latency_statistics.summarize([])
    with pytest.raises(ValueError, match="got 0"):
        latency_statistics.combine([])
