"""The cross-check against a patch whose defects are known: the expected findings, for the right reason, no other."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colotrace.crosscheck.compare import FieldCheck, Verdict, compare, compare_once
from colotrace.crosscheck.defects import Evidence, Reset, explain
from colotrace.crosscheck.fields import FIELDS, is_of_role
from colotrace.crosscheck.findings import FIXES, Code, Finding
from colotrace.crosscheck.reading import parse_reading
from colotrace.crosscheck.windows import Window
from colotrace.phases import Phase, Role

from .patchmodel import Kernel, Patch, Took, took, windows

TOLERANCE_NS = 20_000


def tolerances(role: Role) -> dict[str, int]:
    return {one.name: TOLERANCE_NS if one.is_time else 0 for one in FIELDS.values() if is_of_role(one, role)}


def checkpoints(role: Role, count: int, start: int = 0) -> list[Took]:
    return [took(role, number) for number in range(start, start + count)]


def ordinary(role: Role, *defects: str, skew: int = 0, before: int = 3) -> tuple[Patch, Kernel, list[Window]]:
    """Fifty checkpoints in five windows, after a few."""
    patch, kernel = Patch(role, frozenset(defects), skew=skew), Kernel(role)
    stretches = [checkpoints(role, 10, 10 * number) for number in range(5)]
    return patch, kernel, windows(patch, kernel, checkpoints(role, before), stretches)


def found(role: Role, runs: list[Window], **more: object) -> tuple[dict[str, FieldCheck], list[Finding]]:
    checks = compare(runs, role, tolerances(role))
    return checks, explain(Evidence(role, runs, checks, tolerances(role), **more))  # type: ignore[arg-type]


def codes(findings: Iterable[Finding]) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.code, one.fields) for one in findings]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("skew", [0, 1, TOLERANCE_NS, -TOLERANCE_NS])
@pytest.mark.parametrize("before", [1, 1000])
def test_a_correct_patch_agrees(role: Role, skew: int, before: int) -> None:
    _, _, runs = ordinary(role, skew=skew, before=before)
    checks, findings = found(role, runs)
    assert findings == []
    compared = {name for name, check in checks.items() if check.verdict is Verdict.AGREES}
    assert compared == {one.name for one in FIELDS.values() if is_of_role(one, role)} - {"init_time"}


@settings(deadline=None)
@given(
    st.sampled_from(list(Role)),
    st.lists(st.lists(st.lists(st.integers(0, 1 << 40), min_size=8, max_size=8), min_size=1, max_size=4), max_size=4),
    st.integers(-TOLERANCE_NS, TOLERANCE_NS),
)
def test_a_correct_patch_agrees_whatever_it_counts(role: Role, times: list[list[list[int]]], skew: int) -> None:
    def made(row: list[int]) -> Took:
        return Took(dict(zip(took(role).phases, (ns + TOLERANCE_NS for ns in row), strict=False)))

    patch, kernel = Patch(role, skew=skew), Kernel(role)
    runs = windows(patch, kernel, [took(role)], [[made(row) for row in stretch] for stretch in times])
    checks, findings = found(role, runs)
    assert findings == [] and not any(check.verdict is Verdict.DIFFERS for check in checks.values())


PRIMARY = [
    (["recv-in-put"], [("recv-counted-in-put", ("recv_time", "put_time"))]),
    (["stat-in-load"], [("phase-counted-in-another", ("stat_time", "load_time"))]),
    (["negative-init"], [("negative-init", ("init_time",))]),
    (["negative-stat"], [("negative-stat", ("stat_time",))]),
    (["no-ram-size"], [("always-zero", ("ram_size",))]),
    (["tot-average"], [("average-inconsistent", ("avg_time", "tot_time", "tot_num")),
                       ("averages-mixed-with-totals", ("tot_time",))]),
    (["count-twice"], [("count-differs", ("tot_num",))]),
    (["recv-in-put", "negative-init", "no-ram-size"],
     [("negative-init", ("init_time",)), ("recv-counted-in-put", ("recv_time", "put_time")),
      ("always-zero", ("ram_size",))]),
]  # fmt: skip


@pytest.mark.parametrize(("defects", "expected"), PRIMARY, ids=["+".join(defects) for defects, _ in PRIMARY])
def test_each_defect_has_its_finding_and_no_other(
    defects: list[str], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    _, _, runs = ordinary(Role.PRIMARY, *defects)
    _, findings = found(Role.PRIMARY, runs)
    assert codes(findings) == expected
    for one in findings:
        assert one.message and one.arithmetic and one.fix and one.as_json()["code"] == one.code


def test_the_seeds_secondary() -> None:
    _, _, runs = ordinary(Role.SECONDARY, "negative-init", "negative-stat", "no-ram-size")
    _, findings = found(Role.SECONDARY, runs)
    assert codes(findings) == [("negative-init", ("init_time",)), ("negative-stat", ("stat_time",))]
    kernel = sum(took(Role.SECONDARY, n).phases[Phase.STAT] for n in range(50))
    assert f"the kernel {kernel:,}: without the sign they differ by" in findings[1].arithmetic


def test_sums_among_averages() -> None:
    _, _, runs = ordinary(Role.PRIMARY, "sums")
    _, findings = found(Role.PRIMARY, runs)
    (one,) = findings
    assert one.code == "averages-mixed-with-totals"
    assert one.fields == tuple(name for name, f in FIELDS.items() if f.phase and f.phase is not Phase.INIT)


def test_a_disturbance_does_not_hide_a_wrong_unit() -> None:
    patch, kernel = Patch(Role.PRIMARY, frozenset({"micro"})), Kernel(Role.PRIMARY)
    stalled = [took(Role.PRIMARY, stall=50_000_000), *checkpoints(Role.PRIMARY, 9)]
    stretches = [checkpoints(Role.PRIMARY, 10), stalled, checkpoints(Role.PRIMARY, 10)]
    _, findings = found(Role.PRIMARY, windows(patch, kernel, checkpoints(Role.PRIMARY, 3), stretches))
    assert [one.code for one in findings] == ["wrong-unit"]


def test_a_short_phase_is_not_taken_for_a_sum() -> None:
    """In short windows the average's own wobble is as large as a phase within the tolerance: that proves nothing."""
    patch, kernel = Patch(Role.PRIMARY, frozenset({"recv-in-put"})), Kernel(Role.PRIMARY)
    short = [Took({**one.phases, Phase.PUT: 15_000}) for one in checkpoints(Role.PRIMARY, 50)]
    stretches = [short[number : number + 2] for number in range(0, 50, 2)]
    _, findings = found(Role.PRIMARY, windows(patch, kernel, checkpoints(Role.PRIMARY, 3), stretches))
    assert [one.code for one in findings] == ["recv-counted-in-put"]


@pytest.mark.parametrize(("defect", "factor"), [("micro", 1_000), ("milli", 1_000_000)])
def test_one_wrong_unit_explains_all_times(defect: str, factor: int) -> None:
    _, _, runs = ordinary(Role.PRIMARY, defect)
    _, findings = found(Role.PRIMARY, runs)
    (one,) = findings
    assert one.code == "wrong-unit" and one.numbers == {"factor": factor}
    times = {f.name for f in FIELDS.values() if f.is_time and f.name != "init_time"}
    assert set(one.fields) == times, "those that truncation has made 0 fit as well"


def test_a_failed_checkpoint_that_was_counted() -> None:
    patch, kernel = Patch(Role.PRIMARY, frozenset({"count-failed"})), Kernel(Role.PRIMARY)
    stretches = [checkpoints(Role.PRIMARY, 10), [took(Role.PRIMARY, failed=True)]]
    runs = windows(patch, kernel, checkpoints(Role.PRIMARY, 3), stretches)
    checks, findings = found(Role.PRIMARY, runs)
    assert codes(findings) == [("failed-checkpoints-counted", ("tot_num",))]
    assert findings[0].numbers == {"extra": 1, "aborted": 1}
    assert checks["stat_time"].checkpoints == 10, "the other window is still compared"


def test_a_checkpoint_seen_in_part_is_no_finding() -> None:
    patch, kernel = Patch(Role.PRIMARY), Kernel(Role.PRIMARY)
    runs = windows(patch, kernel, checkpoints(Role.PRIMARY, 3), [checkpoints(Role.PRIMARY, 10)] * 2)
    partly = runs[1].kernel.since(Kernel(Role.PRIMARY, seen=[took(Role.PRIMARY)]).totals())
    runs[1] = Window(runs[1].before, runs[1].after, type(partly)(**{**vars(partly), "incomplete": 1}))
    checks, findings = found(Role.PRIMARY, runs)
    assert findings == [] and checks["tot_num"].verdict is Verdict.DIFFERS and checks["ram_time"].checkpoints == 10


@pytest.mark.parametrize("role", list(Role))
def test_a_reset_that_leaves_fields(role: Role) -> None:
    patch, kernel, runs = ordinary(role, "reset-eight")
    before, totals = patch.reading(), kernel.totals()
    patch.reset()
    one = took(role, 77)
    patch.take(one)
    kernel.seen.append(one)
    reset = Reset(before, patch.reading(), kernel.totals().since(totals))
    _, findings = found(role, runs, reset=reset)
    left = [name for name in list(FIELDS)[8:] if is_of_role(FIELDS[name], role)]
    assert codes(findings) == [("stale-after-reset", tuple(left))]


def test_a_reset_that_clears_all() -> None:
    patch, kernel, runs = ordinary(Role.PRIMARY, "recv-in-put")
    before, totals = patch.reading(), kernel.totals()
    patch.reset()
    patch.take(took(Role.PRIMARY))
    kernel.seen.append(took(Role.PRIMARY))
    reset = Reset(before, patch.reading(), kernel.totals().since(totals))
    _, findings = found(Role.PRIMARY, runs, reset=reset)
    assert [one.code for one in findings] == ["recv-counted-in-put"]


def test_an_older_excess_is_still_told() -> None:
    """All that is added agrees, but the sums before were left by a reset that nobody here has seen."""
    patch, kernel = Patch(Role.PRIMARY, frozenset({"reset-eight"})), Kernel(Role.PRIMARY)
    for one in checkpoints(Role.PRIMARY, 40):
        patch.take(one)
    patch.reset()
    runs = windows(patch, kernel, checkpoints(Role.PRIMARY, 3), [checkpoints(Role.PRIMARY, 10)] * 5)
    checks, findings = found(Role.PRIMARY, runs)
    assert [one.code for one in findings] == ["phases-exceed-average"]
    assert not any(check.verdict is Verdict.DIFFERS for check in checks.values())


def test_what_nothing_explains_says_so() -> None:
    _, _, runs = ordinary(Role.PRIMARY, skew=TOLERANCE_NS + 200)
    _, findings = found(Role.PRIMARY, runs)
    assert {one.code for one in findings} == {"unexplained-difference"}
    times = {f.name for f in FIELDS.values() if f.is_time and f.name != "init_time"}
    assert {one.fields[0] for one in findings} == times


def test_one_stall_is_no_defect() -> None:
    """The COLO thread was kept off its processor between the two clock readings, once."""
    patch, kernel = Patch(Role.PRIMARY), Kernel(Role.PRIMARY)
    stalled = [took(Role.PRIMARY, stall=50_000_000), *checkpoints(Role.PRIMARY, 9)]
    stretches = [checkpoints(Role.PRIMARY, 10), stalled, checkpoints(Role.PRIMARY, 10)]
    checks, findings = found(Role.PRIMARY, windows(patch, kernel, checkpoints(Role.PRIMARY, 3), stretches))
    assert checks["load_time"].verdict is checks["tot_time"].verdict is Verdict.DISTURBED and findings == []
    assert checks["ram_time"].verdict is Verdict.AGREES


def test_a_torn_answer() -> None:
    patch, _, runs = ordinary(Role.PRIMARY)
    quiet = patch.reading()
    patch.sums["stat_time"] += 5_000_000
    _, findings = found(Role.PRIMARY, runs, pairs=[(quiet, patch.reading())])
    assert codes(findings) == [("torn-reading", ("stat_time",))]


def test_init_is_compared_where_the_kernel_has_seen_it() -> None:
    patch, init = Patch(Role.PRIMARY), FIELDS["init_time"]
    patch.take(took(Role.PRIMARY))
    reading = patch.reading()
    assert compare_once(init, reading, 4_581_165 + 10, 10).verdict is Verdict.AGREES
    assert compare_once(init, reading, 4_581_165 + 11, 10).verdict is Verdict.DISTURBED
    assert compare_once(init, reading, 4_581_165 * 2, 10).verdict is Verdict.DISTURBED
    assert compare_once(init, reading, 4_581_165 * 2 + 2, 10).verdict is Verdict.DIFFERS
    negative = parse_reading({**reading.values, "init_time": -4_581_165})
    assert compare_once(init, negative, 4_581_165, 10).verdict is Verdict.DIFFERS
    assert compare_once(init, parse_reading({"tot_num": 1}), 5, 10).verdict is Verdict.NOT_COMPARED


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"load_time": None}, "field-missing", ("load_time",)),
        ({"load_time": "12"}, "field-of-wrong-type", ("load_time",)),
        ({"load_time": 1.5}, "field-of-wrong-type", ("load_time",)),
        ({"load_time": True}, "field-of-wrong-type", ("load_time",)),
        ({"load_time": 1 << 63}, "field-of-wrong-type", ("load_time",)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_field_of_another_shape(changes: dict[str, object], code: str, named: tuple[str, ...]) -> None:
    _, _, runs = ordinary(Role.PRIMARY)
    shaped = [
        Window(*(parse_reading({**r.values, **changes}) for r in (run.before, run.after)), run.kernel) for run in runs
    ]
    checks, findings = found(Role.PRIMARY, shaped)
    assert codes(findings) == [(code, named)]
    assert checks["load_time"].verdict is Verdict.NOT_COMPARED and checks["ram_time"].verdict is Verdict.AGREES


def test_without_a_count_nothing_else_can_be_compared() -> None:
    _, _, runs = ordinary(Role.PRIMARY)
    shaped = [
        Window(*(parse_reading({**r.values, "tot_num": None}) for r in (run.before, run.after)), run.kernel)
        for run in runs
    ]
    checks, findings = found(Role.PRIMARY, shaped)
    assert codes(findings) == [("field-missing", ("tot_num",))]
    assert {check.verdict for check in checks.values()} == {Verdict.NOT_COMPARED}


def test_what_a_secondary_has_not_may_be_absent() -> None:
    _, _, runs = ordinary(Role.SECONDARY)
    absent = {"dev_time": None, "resume_time": None, "ram_size": None}
    shaped = [
        Window(*(parse_reading({**r.values, **absent}) for r in (run.before, run.after)), run.kernel) for run in runs
    ]
    assert found(Role.SECONDARY, shaped)[1] == []


def test_a_verdict_as_json() -> None:
    _, _, runs = ordinary(Role.PRIMARY, "recv-in-put")
    checks, _ = found(Role.PRIMARY, runs)
    recv = checks["recv_time"].as_json()
    kernel = sum(took(Role.PRIMARY, n).phases[Phase.RECV] for n in range(50))
    assert recv["patch"] == 0 and recv["kernel"] == kernel and recv["difference"] == -kernel
    assert recv["verdict"] == "differs" and recv["percent"] == -100.0 and recv["checkpoints"] == 50
    # Two readings' truncation: tot_num 3 and 53, an average of 0 on both sides leaves +-2 and +-52.
    assert recv["bound"] == 50 * TOLERANCE_NS + 2 + 52


def test_every_code_has_a_fix() -> None:
    assert set(FIXES) == set(Code) and all(FIXES.values())
