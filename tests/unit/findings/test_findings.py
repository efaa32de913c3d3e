"""What is common to all rules: they speak, are silent or say why they cannot; on anything at all."""

from __future__ import annotations

import json
import math
import time
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colotrace.analysis.findings.find import findings_of
from colotrace.analysis.findings.finding import Confidence, Finding, Findings
from colotrace.analysis.findings.recent import NUMERIC, Recent, Rows, values_of, values_of_record
from colotrace.analysis.findings.rule import Rule, Unknowable, all_rules
from colotrace.analysis.findings.sample import Sample, Table, sample_of, sample_of_recent
from colotrace.analysis.findings.wording import details, head, rest
from colotrace.checkpoint import Checkpoint, Outcome
from colotrace.phases import MARKS, Mark, Phase, Role, Trigger
from colotrace.recording import open_recording

from .samples import header_of, sample_of_columns

WORDS = ("rule", "phase", "title", "confidence_reason", "advice")


def finding(name: str, cost_ns: int | None = None) -> Finding:
    return Finding(name, "ram", f"{name}: 1 ms", {"x_ns": 1}, ("seen",), Confidence.LOW, "a test", "none", cost_ns)


def rule(name: str, *found: Finding, **more: object) -> Rule:
    return Rule(name, "a test's", lambda sample: found, **more)  # type: ignore[arg-type]


def cannot(_sample: Sample) -> list[Finding]:
    raise Unknowable("no such figure")


def checkpoint(number: int, **changes: object) -> Checkpoint:
    begin = 10_000_000_000 + number * 150_000_000
    one = Checkpoint(
        Role.PRIMARY, 7, 8, number, Outcome.COMPLETED, begin, 20_000_000, {Phase.RAM: 5_000_000 + number}, 1,
        19_000_000, 1000, None, 30, {Mark.VM_STOP: begin + 5}, notified_ns={Trigger.COMPARE: begin - 9},
    )  # fmt: skip
    return replace(one, **changes)  # type: ignore[arg-type]


def test_the_most_costly_comes_first() -> None:
    rules = [rule("a", finding("a"), finding("b", 5)), rule("c", finding("c", 9))]
    assert [one.rule for one in findings_of(sample_of_columns(Role.PRIMARY), rules).found] == ["c", "b", "a"]


def test_who_cannot_look_says_why() -> None:
    rules = [
        rule("few", least=101), rule("unseen", needs=("ram_ns",)), Rule("cannot", "", cannot), rule("calm"),
        rule("other", finding("other"), roles=(Role.SECONDARY,)),
    ]  # fmt: skip
    found = findings_of(sample_of_columns(Role.PRIMARY, 100, load_ns=1), rules)
    assert found.found == () and found.not_found == ("calm",)
    assert found.unknown == {
        "few": "it takes 101 checkpoints; there are 100",
        "unseen": "ram_ns is known of 0 of 100 checkpoints",
        "cannot": "no such figure",
    }
    assert next(iter(rest(found))) == "looked for at all 100 checkpoints and not found: calm"


def test_in_words_it_has_its_cost_its_evidence_and_its_advice() -> None:
    one = finding("a", 2_500_000)
    assert head(one) == "a: 1 ms (low confidence, 2.50 ms a checkpoint)"
    assert details(one) == ("seen", "low confidence: a test", "advice: none")
    assert head(finding("a")) == "a: 1 ms (low confidence)"


def test_what_attach_keeps_is_what_a_recording_says() -> None:
    for one in (checkpoint(1), checkpoint(2, notified_ns=None, ram_pages=None, marks_ns={}, phase_ns={})):
        assert values_of(one) == values_of_record(json.loads(json.dumps(one.as_json())))


def test_attach_keeps_the_last_ones_and_some_of_all() -> None:
    recent = Recent(recent=10, spread=8)
    for number in range(1, 101):
        recent.add(checkpoint(number))
        recent.add(checkpoint(number, outcome=Outcome.ABORTED))
    sample = sample_of_recent(Role.PRIMARY, header_of(), recent)
    assert sample.completed == 100
    assert list(sample.recent["ram_ns"] - 5_000_000) == list(range(91, 101))
    spread = list(sample.spread["ram_ns"] - 5_000_000)
    assert spread == list(range(1, 101, 16)) and 4 <= len(spread) <= 8
    assert list(np.diff(sample.recent["begin_ns"])) == [150_000_000] * 9
    assert sample.recent.base_ns + sample.recent["begin_ns"][0] == checkpoint(91).begin_ns
    assert list(sample.recent["mark_vm_stop_ns"] - sample.recent["begin_ns"]) == [5] * 10
    assert sample.recent.triggered_by(Trigger.COMPARE).all() and np.isnan(sample.recent["ram_bytes"]).all()


def test_of_several_runs_the_header_is_the_last_ones(tmp_path: Path) -> None:
    """Whose process is still there, if any is."""
    for pid in (7, 8):
        attached = {"type": "attached", "schema_version": 2, "pid": pid, "name": "v", "host": "h"}
        attached |= {"run": str(pid), "started": f"2026-11-25T10:00:0{pid}Z"}
        lines = [attached, checkpoint(pid).as_json() | {"type": "checkpoint", "pid": pid}]
        (tmp_path / f"{pid}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (series,) = open_recording(str(tmp_path)).series()
    sample = sample_of(series)
    assert (series.header.pid, sample.header.pid, sample.completed) == (7, 8, 2)


def test_every_rule_has_a_name_of_its_own_and_says_what_it_is_for() -> None:
    rules = all_rules()
    assert len({one.name for one in rules}) == len(rules) >= 1
    for one in rules:
        assert one.title and one.roles and set(one.needs) <= set(NUMERIC)


def rows(values: np.ndarray) -> Rows:  # type: ignore[type-arg]
    found = Rows()
    found.base_ns, found.flat = 0, array("d", values.ravel())
    return found


VALUES = st.sampled_from([math.nan, 0.0, 1.0, -1.0, 4e7, 4.2e7, 1e9, 1e18])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(Role)), st.integers(0, 130), st.lists(VALUES, min_size=1, max_size=7), st.integers(0, 2**32),
    st.booleans(),
)  # fmt: skip
def test_no_rule_fails_whatever_it_sees(
    role: Role, n: int, choice: list[float], seed: int, realistic: bool
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    values = random.choice(choice, size=(n, len(NUMERIC)))
    if realistic and n:
        values = random.lognormal(16, 2, size=values.shape).round()
        values[random.random(values.shape) < 0.1] = math.nan
        values[:, 0] = np.cumsum(values[:, 1])
        for at, _mark in enumerate(MARKS):
            values[:, len(NUMERIC) - 1 - len(MARKS) + at] = values[:, 0] + at * 1_000_000
    values[:, -1] = random.integers(0, 5, n)
    table = Table(rows(values))
    found = findings_of(Sample(role, n, header_of(), table, table))
    assert isinstance(found, Findings)
    json.dumps(found.as_json(), allow_nan=False)
    for one in found.found:
        assert all(getattr(one, word) for word in WORDS) and one.numbers and one.evidence
        assert any(character.isdigit() for character in one.title)


@pytest.mark.parametrize("n", [0, 1, 19, 20])
def test_few_checkpoints_are_no_trouble(n: int) -> None:
    assert findings_of(sample_of_columns(Role.PRIMARY, n)).found == ()


def test_ten_thousand_checkpoints_are_looked_at_while_one_waits() -> None:
    """A bound against a rule that goes over all pairs, not a benchmark."""
    random = np.random.default_rng(1)
    values = random.lognormal(16, 1, size=(10_000, len(NUMERIC))).round()
    values[:, 0] = np.arange(10_000) * 1e8
    table = Table(rows(values))
    begin = time.process_time()
    findings_of(Sample(Role.PRIMARY, 10_000, header_of(), table, table))
    assert time.process_time() - begin < 20
