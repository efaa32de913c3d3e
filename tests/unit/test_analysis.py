"""The figures of a report, against numpy, pandas, and what is known of made-up data."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colotrace.analysis.ramcost import fit
from colotrace.analysis.slowest import culprit, slowest_indices
from colotrace.analysis.statistics import PERCENTILES, distribution, exact_sum, histogram, needed
from colotrace.analysis.summarise import report_of, summarise
from colotrace.analysis.trend import LEAST_BINS, MOST_BINS, drift_of, edges_of, step_of

from .standin import PARTS, StandIn, arrays

HOUR = 3_600_000_000_000
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.lists(st.integers(0, 1 << 53), min_size=1, max_size=2500))
def test_a_distribution_is_numpys_and_pandas(values: list[int]) -> None:
    data = np.array(values, np.int64)
    found = distribution(data)
    assert (found.n, found.total, found.min, found.max) == (len(values), sum(values), min(values), max(values))
    assert found.mean == pytest.approx(float(np.mean(data)), rel=1e-9)
    if len(values) > 1:
        assert found.sd == pytest.approx(pd.Series(data).std(), rel=1e-9, abs=1e-3)
    for name, thousandths in PERCENTILES.items():
        value = getattr(found, name)
        if len(values) < needed(thousandths):
            assert value is None and str(len(values)) in found.missing[name].replace(",", "")
        else:
            assert value == np.percentile(data, thousandths / 10, method="inverted_cdf")
            assert name not in found.missing


@given(st.lists(INT64, max_size=50))
def test_sums_do_not_overflow(values: list[int]) -> None:
    assert exact_sum(np.array(values, np.int64)) == sum(values)


def test_the_largest_values_have_a_mean_and_a_spread() -> None:
    data = np.full(2000, np.iinfo(np.int64).max)
    found = distribution(data)
    assert found.total == 2000 * int(data[0]) and found.sd == 0 and found.p999 == data[0]
    bins = histogram(data)
    assert bins is not None and sum(bins.counts) == 2000


@given(st.lists(st.integers(0, (1 << 63) - 1), min_size=1, max_size=300))
def test_a_histogram_counts_every_value_where_it_lies(values: list[int]) -> None:
    found = histogram(np.array(values, np.int64))
    assert found is not None and len(found.edges) == len(found.counts) + 1
    assert sum(found.counts) == len(values) and found.counts[0] and found.counts[-1]
    assert list(found.edges) == sorted(set(found.edges))
    top = found.edges[-1]
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        assert count == sum(low <= one < high or (one == high == top) for one in values)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_values_have_few_figures_and_reasons(n: int) -> None:
    found = distribution(np.arange(n) + 5)
    names = ("mean", "sd", "min", "p50", "p90", "p99", "p999", "max")
    unknown = {name for name in names if getattr(found, name) is None}
    assert unknown == set(found.missing)
    assert unknown == {
        0: {"mean", "sd", "min", "p50", "p90", "p99", "p999", "max"},
        1: {"sd", "p50", "p90", "p99", "p999"},
        2: {"p90", "p99", "p999"},
    }[n]  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 2, 9, 60, 5000])
def test_a_report_of_any_length_is_json_without_nan(n: int) -> None:
    text = json.dumps(report_of(["x"], [], [StandIn(arrays(n))]).as_json(), allow_nan=False)
    found = json.loads(text)["series"][0]
    assert found["outcomes"]["completed"] == n
    assert all(row["n"] == n for row in found["rows"])
    for row in found["rows"]:
        nulls = {name for name, value in row.items() if value is None and name.endswith("_ns")}
        assert nulls == {f"{name}_ns" for name in row["missing"]}


def test_a_report_equals_pandas_over_the_same_table() -> None:
    data = arrays(4000)
    frame = pd.DataFrame(data)
    found = summarise(StandIn(data), slowest=7)  # type: ignore[arg-type]
    assert [row.name for row in found.rows] == ["wait", *PARTS, "total", "pause"]
    for row in found.rows:
        assert row.distribution.mean == pytest.approx(frame[row.column].mean())
        assert row.distribution.p99 == np.percentile(frame[row.column], 99, method="inverted_cdf")
        if row.name in PARTS:
            assert row.share == pytest.approx(frame[row.column].sum() / frame["total_ns"].sum())
    assert sum(row.share or 0 for row in found.rows) == pytest.approx(1)
    slow = frame.sort_values("pause_ns", ascending=False, kind="stable").head(7)
    assert [one.row_index for one in found.slowest] == list(slow.index)
    excess = frame[[f"{part}_ns" for part in PARTS]].sub(
        [int(np.percentile(frame[f"{part}_ns"], 50, method="inverted_cdf")) for part in PARTS], axis=1
    )
    for one in found.slowest:
        assert f"{one.phase}_ns" == excess.loc[one.row_index].idxmax()
        assert one.excess_ns == excess.loc[one.row_index].max()
        assert one.when_ns == data["begin_ns"][one.row_index] + 1_700_000_000_000_000_000
    assert sum(one.n for one in found.trend.bins) == 4000 and len(found.trend.bins) <= MOST_BINS
    for one in found.trend.bins:
        parts = sum(one.mean_ns[part] or 0 for part in PARTS)
        assert parts == pytest.approx(one.mean_ns["total"], abs=len(PARTS))


def test_a_column_of_nulls_is_null_with_its_reason() -> None:
    data = arrays(200) | {"ram_pages": None, "ram_bytes": None, "pause_ns": None}
    found = summarise(StandIn(data, reasons={"ram_pages": "not counted here"}))  # type: ignore[arg-type]
    assert found.missing["ram_cost"] == "not counted here" and found.ram_cost is None
    pause = found.row("pause")
    assert pause is not None and pause.distribution.n == 0 and pause.missing == "no pause_ns here"
    assert found.slowest_by == "total" == found.trend.of and found.trend.bins


def test_a_column_with_some_nulls_counts_where_it_is_known() -> None:
    data = arrays(200)
    load = data["load_ns"].astype(object)
    load[::2] = None
    found = summarise(StandIn(data | {"load_ns": load}))  # type: ignore[arg-type]
    row = found.row("load")
    assert row is not None and row.distribution.n == 100
    assert row.share == pytest.approx(data["load_ns"][1::2].sum() / data["total_ns"][1::2].sum())
    for i, one in enumerate(found.trend.bins):
        part = slice(200 * i // len(found.trend.bins), 200 * (i + 1) // len(found.trend.bins))
        known = [value for value in load[part] if value is not None]
        assert one.mean_ns["load"] == pytest.approx(np.mean(known), abs=1)


def test_triggers_split_waits_and_pauses() -> None:
    data = arrays(300)
    words = np.array(["packet" if i % 3 else "timer" for i in range(300)], object)
    found = summarise(StandIn(data | {"trigger": words})).triggers  # type: ignore[arg-type]
    assert [(one.name, one.n) for one in found] == [("packet", 200), ("timer", 100)]
    assert found[1].wait.total == int(data["wait_ns"][::3].sum())


def test_a_single_time_has_no_drift_and_constant_data_none_either() -> None:
    level = np.full(20, 7.0)
    assert drift_of(np.zeros(20), level) is None
    constant = drift_of(np.arange(20.0), level)
    assert constant is not None and constant.per_hour_ns == 0 and not constant.evidence
    assert drift_of(np.arange(3.0), level[:3]) is None and LEAST_BINS > 3


def test_a_drift_is_found_with_its_slope_and_not_seen_where_there_is_none() -> None:
    random = np.random.default_rng(5)
    when = np.arange(100) * HOUR / 100
    noise = random.normal(0, 1000, 100)
    found = drift_of(when, 50_000 + 20_000 * when / HOUR + noise)
    assert found is not None and found.low_ns is not None and found.high_ns is not None
    assert found.evidence and found.low_ns < 20_000 < found.high_ns
    flat = drift_of(when, 50_000 + noise)
    assert flat is not None and not flat.evidence


def test_false_alarms_of_drifts_are_as_rare_as_stated() -> None:
    """400 runs without a drift, whose neighbouring checkpoints hang together (AR(1), 0.8): 5 % is what is stated."""
    random = np.random.default_rng(6)
    alarms = 0
    for _ in range(400):
        shocks = random.normal(0, 1, 1200)
        levels = np.zeros(1200)
        for i in range(1, 1200):
            levels[i] = 0.8 * levels[i - 1] + shocks[i]
        edges = edges_of(np.arange(1200) * 10**9)
        medians = np.array([np.median(levels[a:b]) for a, b in pairwise(edges)])
        found = drift_of(np.arange(float(medians.size)), medians)
        assert found is not None
        alarms += found.evidence
    assert alarms / 400 < 0.09


def test_a_step_is_told_from_a_drift() -> None:
    random = np.random.default_rng(7)
    when = np.arange(60) * 10**9
    noise = random.normal(0, 1000, 60)
    step = step_of(when, np.where(np.arange(60) < 40, 50_000.0, 90_000.0) + noise)
    assert step is not None and step.when_ns == 40 * 10**9
    assert step.before_ns == pytest.approx(50_000, abs=1000) and step.after_ns == pytest.approx(90_000, abs=1000)
    assert step_of(when, 50_000 + 1000 * np.arange(60) + noise) is None
    assert step_of(when, 50_000 + noise) is None


def test_bins_are_cut_at_gaps() -> None:
    when = np.concatenate([np.arange(100), 10_000 + np.arange(50)]) * 10**9
    edges = edges_of(when)
    assert edges[0] == 0 and edges[-1] == 150 and 100 in edges and edges == sorted(set(edges))
    assert edges_of(np.zeros(0, np.int64)) == [0] and edges_of(np.array([5])) == [0, 1]


def test_the_line_through_pages_is_numpys_and_its_errors_hold() -> None:
    random = np.random.default_rng(8)
    held = 0
    for _ in range(200):
        pages = random.integers(100, 5000, 300)
        ns = (1_000_000 + 2500 * pages + random.normal(0, 100_000, 300)).astype(np.int64)
        found = fit(pages, ns)
        assert not isinstance(found, str)
        slope, fixed = np.polyfit(pages, ns, 1)
        assert found.per_page_ns == pytest.approx(slope) and found.fixed_ns == pytest.approx(fixed)
        assert found.r_squared == pytest.approx(np.corrcoef(pages, ns)[0, 1] ** 2)
        held += abs(found.per_page_ns - 2500) < 2 * found.per_page_error_ns
    assert 0.9 < held / 200 < 0.99


def test_the_errors_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """And are those of the textbook's double sum."""
    random = np.random.default_rng(11)
    pages = random.integers(100, 5000, 257)
    ns = 1_000_000 + 2500 * pages + np.cumsum(random.integers(-9000, 9000, 257))
    whole = fit(pages, ns)
    assert not isinstance(whole, str)
    lags = int(4 * (257 / 100) ** (2 / 9))
    design = np.column_stack([np.ones(257), pages])
    residuals = ns - design @ [whole.fixed_ns, whole.per_page_ns]
    scores = design * residuals[:, None]
    meat = scores.T @ scores
    for lag in range(1, lags + 1):
        cross = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / (lags + 1)) * (cross + cross.T)
    bread = np.linalg.inv(design.T @ design)
    errors = np.sqrt(np.diag(bread @ meat @ bread) * 257 / 255)
    assert [whole.fixed_error_ns, whole.per_page_error_ns] == pytest.approx(errors, rel=1e-6)
    for chunk in (1, 2, 50, 256):
        monkeypatch.setattr("colotrace.analysis.ramcost.CHUNK", chunk)
        found = fit(pages, ns)
        assert not isinstance(found, str)
        assert found.per_page_error_ns == pytest.approx(whole.per_page_error_ns)
        assert found.fixed_error_ns == pytest.approx(whole.fixed_error_ns)


def test_one_checkpoint_does_not_decide_the_cost_of_a_page() -> None:
    random = np.random.default_rng(9)
    pages = np.concatenate([[65_536], random.integers(1000, 2000, 100)])
    ns = np.concatenate([[900_000_000], 100_000 + 2000 * pages[1:] + random.integers(-1000, 1000, 100)])
    found = fit(pages, ns)
    assert not isinstance(found, str)
    assert found.left_out == ((65_536, 900_000_000),) and found.per_page_ns == pytest.approx(2000, rel=0.01)


def test_pages_that_never_change_have_no_cost() -> None:
    assert fit(np.full(50, 8192), np.arange(50)) == "every checkpoint sent 8,192 pages"
    assert "there are 3" in str(fit(np.arange(3), np.arange(3)))


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 70))
def test_the_slowest_are_the_largest_and_the_earliest_of_equals(values: list[int], count: int) -> None:
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
    assert slowest_indices(np.array(values, np.int64), count) == expected


def test_who_is_to_blame() -> None:
    record = {"ram_ns": 50, "load_ns": 90, "recv_ns": None}
    assert culprit(record, {"ram": 10, "load": 60, "recv": 1}) == ("ram", 50, 10)
    assert culprit(record, {"ram": 60, "load": None}) is None


def test_infinities_of_a_foreign_recording_are_null_in_json() -> None:
    cost = {"probe_cost": {"clock_ns": math.inf}}
    strange = StandIn(arrays(20), header_values=cost, failovers=[{"number": math.nan}])
    text = json.dumps(report_of(["x"], [], [strange]).as_json(), allow_nan=False)
    assert json.loads(text)["series"][0]["failovers"] == [{"number": None}]
