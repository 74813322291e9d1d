"""The verdict against a baseline, and how often it is wrong."""

import numpy as np
import pytest
import recorded_rounds

from android_benchmark import comparison
from android_benchmark import results


def _verdict(before, now, max_regression=0.03):
    (verdict,) = comparison.compare(
        recorded_rounds.rounds(before),
        recorded_rounds.rounds(now),
        max_regression,
    )
    return verdict


def test_clearly_slower_is_a_regression():
    found = _verdict([100, 101, 99, 100, 100], [110, 111, 109, 110, 110])
    assert found.verdict == comparison.REGRESSION
    assert found.ratio == pytest.approx(1.10)
    assert 1.03 < found.low < 1.10 < found.high
    assert (found.baseline_us, found.current_us) == (100, 110)
    assert found.name == "a.tflite on Pixel 4, 4 threads, cores f0, xnnpack"


@pytest.mark.parametrize("now", [[100, 101, 99, 100, 100], [80, 81, 79, 80]])
def test_the_same_or_faster_is_within(now):
    found = _verdict([100, 101, 99, 100, 100], now)
    assert found.verdict == comparison.WITHIN


def test_noise_is_no_verdict():
    found = _verdict([100, 130, 90, 120, 95], [104, 128, 95, 125, 90])
    assert found.verdict == comparison.UNDECIDED
    assert "more rounds, or a quieter device" in found.reason
    assert found.low < 1.03 < found.high


def test_the_allowed_share_decides():
    before, now = [100, 100.2, 99.8, 100], [105, 105.2, 104.8, 105]
    assert _verdict(before, now, 0.03).verdict == comparison.REGRESSION
    assert _verdict(before, now, 0.10).verdict == comparison.WITHIN


def test_outliers_within_a_round_do_not_count():
    before = recorded_rounds.rounds([100] * 5)
    now = [
        recorded_rounds.make([99, 100, 101, 100, 5000], number=i)
        for i in range(5)
    ]
    (found,) = comparison.compare(before, now, 0.03)
    assert found.verdict == comparison.WITHIN


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ({"model": "b"}, {}, "no such combination"),
        ({"threads": 1}, {}, "no such combination"),
        ({"plan": "q"}, {}, "other durations and counts"),
        ({"tool": "u"}, {}, "other benchmark_model or LiteRT"),
        (
            {},
            {"status": results.MARKED, "notes": ("hot",)},
            "this run has 0 rounds without error or mark, expected at least 4",
        ),
    ],
)
def test_what_cannot_be_compared_is_undecided(before, now, reason):
    (found,) = comparison.compare(
        recorded_rounds.rounds([100] * 5, **before),
        recorded_rounds.rounds([200] * 5, **now),
        0.03,
    )
    assert found.verdict == comparison.UNDECIDED
    assert reason in found.reason
    assert found.ratio is None


def test_few_rounds_are_undecided():
    found = _verdict([100] * 5, [200] * 3)
    assert found.verdict == comparison.UNDECIDED
    assert "this run has 3 rounds" in found.reason


@pytest.mark.parametrize("rounds", [4, 8])
def test_the_interval_misses_the_ratio_as_seldom_as_it_says(rounds):
    # Latencies are skewed: most rounds near the best, some far above it.
    generator = np.random.default_rng(5)
    trials, missed = 250, 0
    for _ in range(trials):
        before = 100 + 3 * generator.gamma(2.0, size=rounds)
        now = 1.1 * (100 + 3 * generator.gamma(2.0, size=rounds))
        low, high = comparison.interval(before, now, error=0.05)
        missed += not low <= 1.1 <= high
    # 5 % and two standard errors of 250 trials.
    assert missed / trials <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5


def test_a_small_error_widens_the_interval():
    before, now = np.array([100.0, 103, 98, 101, 99]), np.array([110.0] * 5)
    wide = comparison.interval(before, now, 0.001)
    narrow = comparison.interval(before, now, 0.2)
    assert wide[0] < narrow[0] < 1.1 < narrow[1] < wide[1]


@pytest.mark.parametrize(("text", "share"), [("3%", 0.03), ("0.05", 0.05)])
def test_shares(text, share):
    assert comparison.parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "x", "-1%", "nan", "inf", "3 percent"])
def test_what_is_no_share(text):
    with pytest.raises(ValueError, match="max_regression: expected a share"):
        comparison.parse_share(text)
