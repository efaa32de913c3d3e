"""What must not grow, and what a tracer may take of a CPU: the short forms of scripts/bench_scale and bench_watch."""

from __future__ import annotations

import bench_scale
import bench_watch
import pytest


def test_memory_does_not_grow_with_the_recording(capsys: pytest.CaptureFixture[str]) -> None:
    """Some 90,000 checkpoints: two and a half hours of ten per second."""
    assert bench_scale.with_time(1.5), capsys.readouterr().out


@pytest.mark.parametrize("way", bench_watch.WAYS)
def test_watching_ten_checkpoints_per_second_takes_little(way: str) -> None:
    """Twice the limit of the benchmark: a busy machine makes everything dearer."""
    share, rate, _ = bench_watch.measure(10, *bench_watch.WAYS[way], 2)
    assert rate == pytest.approx(10, abs=2)
    assert share < 2 * bench_watch.LIMITS[10]
