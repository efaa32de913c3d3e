"""Which recordings are both sides of a pair, and the page's picture of them in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from colotrace.analysis import pairs as module
from colotrace.analysis.summarise import report_of
from colotrace.analysis.summary import Report
from colotrace.cli import main
from colotrace.phases import MESSAGES, SENDERS, Mark, Phase, Role
from colotrace.recording import open_recording
from colotrace.report import pairdata
from colotrace.report.html import html
from colotrace.report.outline import PAIRS_TITLE
from colotrace.report.pairdata import gather_pairs

from . import browser
from .pairs import SHIFTS, OtherClock, checkpoints, lines, write_lines

PRIMARY, SECONDARY = Role
ATTACHED_TO_BOTH = Path(__file__).parents[1] / "data" / "recording_pair.jsonl"
"""scripts/demo 20: one attach of both sides."""
AHEAD = OtherClock(351_000_000_000, 50e-6, 0)
HOSTILE = "</script><img src=x onerror=alert(1)><b>"


def write(folder: Path, transport: str, clock: OtherClock = AHEAD, **names: str) -> Path:
    """Both sides' recordings as two hosts have them, in one directory."""
    folder.mkdir(exist_ok=True)
    for role in Role:
        recorded = lines(transport, role)
        if role is SECONDARY:
            recorded = [clock.line(line) for line in recorded]
        if role.value in names:
            recorded = [line | {"name": names[role.value]} if line["type"] == "attached" else line for line in recorded]
        write_lines(folder / f"{transport}-{role.value}.jsonl", recorded)
    return folder


def report(*paths: Path) -> Report:
    found = open_recording(*paths)
    return report_of([str(path) for path in paths], found.problems, found.series(), slowest=50)


def run(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_two_files_of_two_hosts_are_a_pair(tmp_path: Path) -> None:
    found = report(write(tmp_path, "tcp")).pairs
    (pair,) = found.found
    assert pair.merged.match.shift == SHIFTS["tcp"] and not found.problems
    assert set(pair.merged.splits) == {Phase.RECV, Phase.LOAD}


def test_one_attach_of_both_is_a_pair() -> None:
    (pair,) = report(ATTACHED_TO_BOTH).pairs.found
    assert len(pair.merged.match.sequence) == 20


def test_a_directory_with_two_runs_of_a_vm_has_two_pairs(tmp_path: Path) -> None:
    """The lab's VMs have the same names in both runs: each series has two. The clocks differ by minutes."""
    write(tmp_path, "tcp")
    found = report(write(tmp_path, "unix")).pairs
    assert sorted(pair.merged.match.shift for pair in found.found) == sorted(SHIFTS.values())
    assert not found.problems
    rows = {pair.primary.row for pair in found.found}
    assert rows == {0, len(checkpoints(lines("tcp", PRIMARY)))}, "the second run's rows are behind the first's"


def test_sides_that_do_not_fit_are_told_and_the_rest_stays(tmp_path: Path) -> None:
    sides = write_lines(tmp_path / "p.jsonl", lines("tcp", PRIMARY))
    near = OtherClock(lines("tcp", PRIMARY)[5]["begin_ns"] - lines("unix", SECONDARY)[5]["begin_ns"], 0, 0)
    other = write_lines(tmp_path / "s.jsonl", map(near.line, lines("unix", SECONDARY)))
    found = report(Path(sides), Path(other))
    assert not found.pairs.found and len(found.series) == 2
    (problem,) = found.pairs.problems
    assert "cannot be put on one timeline" in problem and "in common" in problem
    page = html(found)
    assert "cannot be put on one timeline" in page and 'id="s2"' in page and 'id="p1"' not in page
    text = run("report", sides, other).output
    assert PAIRS_TITLE in text and "cannot be put on one timeline" in text


def test_recordings_of_other_times_are_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "merge", lambda *_: pytest.fail("tried"))
    sides = [write_lines(tmp_path / "p.jsonl", lines("tcp", PRIMARY))]
    sides.append(write_lines(tmp_path / "s.jsonl", lines("unix", SECONDARY)))
    (problem,) = report(*map(Path, sides)).pairs.problems
    assert "of its time" in problem


def test_one_role_alone_says_nothing_of_pairs(tmp_path: Path) -> None:
    only = write_lines(tmp_path / "p.jsonl", lines("tcp", PRIMARY))
    assert PAIRS_TITLE not in run("report", only).output
    assert PAIRS_TITLE not in run("report", ATTACHED_TO_BOTH, "--role", "primary").output


def in_small_groups(folder: Path) -> Path:
    """The recordings as Parquet in row groups of ten."""
    import pyarrow.parquet as pq

    for path in folder.glob("*.jsonl"):
        made = path.with_suffix(".parquet")
        assert run("convert", path, made).exit_code == 0
        pq.write_table(pq.read_table(made), made, row_group_size=10)
        path.unlink()
    return folder


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_of_long_recordings_a_stretch_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(module, "STRETCH", 30)
    monkeypatch.setattr(module, "SLACK_NS", 10**9)
    whole = write(tmp_path, "tcp", OtherClock(200_000_000, 50e-6, 0))
    if form == "parquet":
        whole = in_small_groups(whole)
    found = report(whole)
    (pair,) = found.pairs.found
    assert pair.merged.match.shift == SHIFTS["tcp"] and 20 <= len(pair.merged.match.sequence) <= 30
    assert pair.stretch and "`colotrace merge`" in pair.stretch and pair.notes[0] == pair.stretch
    (data,) = gather_pairs(found)
    series = found.source[pair.primary.series]
    named = [record["sequence"] for record in series.records(data.rows[PRIMARY])]
    assert named == list(data.numbers), "rows are those of the whole series"


def test_a_page_carries_the_slowest_and_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairdata, "MOST", 40)
    monkeypatch.setattr(pairdata, "LEAST_OF_PAIR", 1)
    monkeypatch.setattr(pairdata, "MOST_BINS", 10)
    found = open_recording(write(tmp_path, "tcp"))
    (data,) = gather_pairs(report_of(["x"], (), found.series(), slowest=5))
    matched = data.pair.merged.match.sequence.tolist()
    assert len(data.numbers) <= 40 < len(matched) and not data.whole
    assert {one.longest for bins in data.bins.values() for one in bins} <= set(data.numbers)
    slow = [one.sequence for one in report_of(["x"], (), found.series(), slowest=5).series[0].slowest]
    assert set(slow) & set(matched) <= set(data.numbers)


def test_the_picture_has_the_records_own_times(tmp_path: Path) -> None:
    """On one host's clock the picture's times are those that were recorded, within the error that it states."""
    (data,) = gather_pairs(report(write(tmp_path, "tcp", AHEAD)))
    sides = {role: {one["sequence"]: one for one in checkpoints(lines("tcp", role))} for role in Role}
    for at, number in enumerate(data.numbers):
        records = {PRIMARY: sides[PRIMARY][number], SECONDARY: sides[SECONDARY][number + SHIFTS["tcp"]]}
        origin = records[PRIMARY]["begin_ns"]
        for mark in MESSAGES[1:]:
            sender = SENDERS[mark]
            receiver = next(role for role in Role if role is not sender)
            for role, times in zip((sender, receiver), data.columns["message"][mark.name], strict=True):
                recorded = records[role]["marks_ns"][mark.value] - origin
                assert abs(times[at] - recorded) <= (data.columns["error"][at] + 1000 if role is SECONDARY else 0)
        begins, ends = data.columns["side"]["primary"]["load"]
        assert ends[at] - begins[at] == records[PRIMARY]["load_ns"]
        assert begins[at] + origin <= records[PRIMARY]["marks_ns"][Mark.VMSTATE_LOADED.value]
        parts = data.columns["split"]["load"].values()
        assert sum(values[at] for values in parts) == records[PRIMARY]["load_ns"]


def test_the_flush_lies_within_the_secondarys_load(tmp_path: Path) -> None:
    """These recordings are older than the flush's marks: put in at a quarter and half of the load, they come back."""
    write(tmp_path, "tcp")
    path = tmp_path / "tcp-secondary.jsonl"
    old = gather_pairs(report(tmp_path))[0].columns["side"]["secondary"]
    assert pairdata.FLUSH not in old

    def marked(line: dict[str, Any]) -> dict[str, Any]:
        if line["type"] != "checkpoint" or line["load_ns"] is None:
            return line
        end, length = line["marks_ns"]["vmstate-loaded"], line["load_ns"]
        flush = {"cache-flush": end - 3 * length // 4, "cache-flushed": end - length // 2}
        return line | {"marks_ns": line["marks_ns"] | flush}

    write_lines(path, [marked(json.loads(line)) for line in path.read_text().splitlines()])
    side = gather_pairs(report(tmp_path))[0].columns["side"]["secondary"]
    for (begin, end), (opens, closes) in zip(
        zip(*side["load"], strict=True), zip(*side[pairdata.FLUSH], strict=True), strict=True
    ):
        assert begin < opens < closes < end


def test_what_was_not_seen_is_null(tmp_path: Path) -> None:
    for role in Role:
        recorded = [
            line | {"ram_ns": None, "missing": {"ram_ns": "not probed"}} if line["type"] == "checkpoint" else line
            for line in lines("tcp", role)
        ]
        write_lines(tmp_path / f"{role.value}.jsonl", recorded)
    found = report(tmp_path)
    (data,) = gather_pairs(found)
    assert set(data.columns["side"]["primary"]["ram"][1]) == {None}
    assert not data.bins and "cannot be split" in html(found)


def test_the_text_says_whose_the_waits_are(tmp_path: Path) -> None:
    said = run("report", write(tmp_path, "tcp")).output
    told = [line for line in said.splitlines() if line.startswith("of the primary's ")]
    assert len(told) == 2 and all("network" in line for line in told)
    assert "the secondary's ram" in told[0] and "the secondary's load" in told[1]
    shares = [float(word) for word in told[1].replace("%", " ").split() if word.replace(".", "").isdigit()]
    assert abs(sum(shares[1:]) - 100) < 0.2, "after the mean, the shares"
    found = json.loads(run("report", "--format", "json", tmp_path).output)
    assert found["pairs"][0]["sequence_shift"] == SHIFTS["tcp"] and found["not_paired"] == []


def test_one_file_is_both_sides_for_merge(tmp_path: Path) -> None:
    answer = run("merge", ATTACHED_TO_BOTH, ATTACHED_TO_BOTH)
    assert answer.exit_code == 0, answer.output
    assert "20 checkpoints, the primary's numbers 1 to 20" in answer.stdout and "network back" in answer.stdout
    page = tmp_path / "both.html"
    assert run("merge", ATTACHED_TO_BOTH, ATTACHED_TO_BOTH, "--output", page).exit_code == 0
    assert page.stat().st_mode & 0o777 == 0o600
    assert 'id="p1"' in page.read_text() and 'id="s1"' not in page.read_text()


SAID = "document.querySelector('#p1 .said').textContent"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser.chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(html(report(write(folder / "pair", "tcp", primary=HOSTILE, secondary=HOSTILE))))
    return path.as_uri()


def opened(driver: Any, address: str) -> Any:
    browser.requests(driver)
    driver.get_log("browser")
    browser.open_page(driver, address)
    driver.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    driver.execute_script("document.querySelector('#p1 .lanes').scrollIntoView()")
    browser.wait(driver, "return document.querySelector('#p1 .lanes .barlayer .point')")
    return driver


def test_both_lanes_and_six_arrows_are_drawn(driver: Any, address: str) -> None:
    page = opened(driver, address)
    lanes = "document.querySelector('#p1 .lanes')"
    bars = f"{lanes}.data.filter((t) => t.type === 'bar' && t.name in {{stat: 1, dev: 1, ram: 1, load: 1, resume: 1}})"
    assert page.execute_script(f"return new Set({bars}.flatMap((t) => t.y)).size") == 2
    assert page.execute_script(f"return {lanes}.data.at(-1).x.length") == 3 * 6
    assert page.execute_script(f"return {lanes}.layout.annotations.length") == 6
    assert page.execute_script(f"return {lanes}.layout.shapes.length") == 4, "two checkpoints, two pauses"
    assert "±" in page.execute_script(f"return {SAID}")
    words = page.execute_script(f"return {lanes}.getAttribute('aria-label')")
    assert "VMSTATE_LOADED of the secondary sent at" in words
    page.execute_script("document.querySelector('#p1 .plot').scrollIntoView()")
    browser.wait(page, "return document.querySelector('#p1 .plot .barlayer .point')")
    assert [e["message"] for e in page.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    assert browser.requests(page) == [address]


def test_names_in_the_picture_are_text(driver: Any, address: str) -> None:
    page = opened(driver, address)
    assert HOSTILE in page.execute_script("return document.querySelector('#p1 h2').textContent")
    assert page.execute_script("return document.querySelectorAll('img, main b').length") == 0


def test_the_keyboard_alone_chooses(driver: Any, address: str) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(driver, address)
    field = page.find_element("id", "cp1")
    field.clear()
    field.send_keys("30", Keys.ENTER)
    browser.wait(page, f"return {SAID}.startsWith('Checkpoint 30 (the secondary\\'s 19)')")
    assert page.execute_script("return location.hash") == "#p1-c30"
    field.send_keys(Keys.TAB, Keys.TAB, Keys.TAB, Keys.SPACE)
    browser.wait(page, f"return {SAID}.startsWith('Checkpoint 31 ')")
    field.send_keys(Keys.TAB, Keys.TAB, Keys.SPACE)
    browser.wait(page, f"return {SAID}.startsWith('Checkpoint 30 ')")
    field.clear()
    field.send_keys("4000", Keys.ENTER)
    browser.wait(page, f"return {SAID}.startsWith('Checkpoint 4000 is not in this picture; the nearest that is: ')")


@pytest.mark.parametrize(("series", "away"), [("s1", 0), ("s2", -SHIFTS["tcp"])])
def test_the_slowest_lists_lead_to_it(driver: Any, address: str, series: str, away: int) -> None:
    page = opened(driver, address)
    link = page.find_element("css selector", f"#{series} .slow a.both")
    number = int(link.find_element("xpath", "../..").find_element("css selector", "th a").text) + away
    page.execute_script("arguments[0].click()", link)
    browser.wait(page, f"return {SAID}.startsWith('Checkpoint {number} ')")
    box = "const b = document.querySelector('#p1 .lanes').getBoundingClientRect(); "
    browser.wait(page, box + "return b.top < innerHeight && b.bottom > 0")


def test_paper_has_every_picture_in_light_colours(driver: Any, address: str) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    try:
        browser.open_page(driver, address)
        driver.execute_script("dispatchEvent(new Event('beforeprint'))")
        pictures = "[...document.querySelectorAll('.plot, .waterfall, .lanes')]"
        browser.wait(driver, f"return {pictures}.every((p) => p.querySelector('.plot-container path'))")
        paper = "return getComputedStyle(document.body).backgroundColor"
        assert driver.execute_script(paper) == "rgb(255, 255, 255)"
        driver.execute_script("dispatchEvent(new Event('afterprint'))")
        assert driver.execute_script(paper) == "rgb(20, 24, 29)"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
