"""The report's page in a real Chromium: a recorded pair, read, drawn, and used by keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colotrace.analysis.summarise import report_of
from colotrace.recording import open_recording
from colotrace.report import html as module
from colotrace.report.html import html, json_text

from . import browser

PAIR = Path(__file__).parents[1] / "data" / "recording_pair.jsonl"
"""scripts/demo 20: a primary and a secondary over TCP, 20 checkpoints each."""
HOSTILE = "</script><img src=x onerror=alert(1)><b>&amp;\u202e"
FIRST = "document.querySelector('#s1 .said').textContent"


def page_of(recording: Path) -> str:
    found = open_recording(recording)
    return html(report_of([str(recording)], found.problems, found.series(), slowest=50))


def primary_records() -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in PAIR.read_text().splitlines()]
    return [line for line in lines if line["type"] == "checkpoint" and line["role"] == "primary"]


def by_pause() -> list[int]:
    return [one["sequence"] for one in sorted(primary_records(), key=lambda one: -one["pause_ns"])]


def drawn(driver: Any) -> object:
    """The lengths of the bars in the first waterfall."""
    return driver.execute_script("return document.querySelector('#s1 .waterfall').data[0].x")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_of(PAIR))
    return path.as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser.chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page(driver: Any, address: str) -> Any:
    browser.requests(driver)
    driver.get_log("browser")
    browser.open_page(driver, address)
    return driver


def complaints(driver: Any) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_everything_is_drawn_without_a_request_or_a_complaint(page: Any, address: str) -> None:
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    plots = page.execute_script("return document.querySelectorAll('.plot, .waterfall, .lanes').length")
    assert plots == 8
    for number in range(plots):
        script = f"const p = document.querySelectorAll('.plot, .waterfall, .lanes')[{number}]; p.scrollIntoView(); "
        browser.wait(page, script + "return p.querySelectorAll('.plot-container path').length > 0")
    assert complaints(page) == []
    assert browser.requests(page) == [address]


def test_the_policy_stops_what_the_page_does_not_need(page: Any) -> None:
    page.execute_script(
        "window.stopped = [];"
        "document.addEventListener('securitypolicyviolation', (e) => stopped.push(e.effectiveDirective));"
        "fetch('https://localhost:1/').catch(() => 0); new Image().src = 'https://localhost:1/i';"
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.head.append(s);"
    )
    browser.wait(page, "return stopped.length >= 3")
    assert sorted(page.execute_script("return stopped")) == ["connect-src", "img-src", "script-src-elem"]
    assert page.execute_script("return window.ran") is None


def test_counts_stand_before_every_figure(page: Any) -> None:
    words = page.find_element("tag name", "main").text
    assert words.index("completed") < words.index("longest pause") < words.index("mean")
    assert "20 completed, 0 incomplete, 0 aborted, 0 lost" in words
    assert words.index("20 completed") < words.index("Phases")


def test_the_slowest_is_chosen_at_first_and_the_list_leads_to_others(page: Any) -> None:
    slowest = by_pause()
    links = page.find_elements("css selector", "#s1 .slow th a")
    assert [int(link.text) for link in links] == slowest
    page.execute_script("document.querySelector('#s1 .waterfall').scrollIntoView()")
    browser.wait(page, f"return {FIRST}.startsWith('Checkpoint {slowest[0]}:')")
    before = drawn(page)
    page.execute_script("arguments[0].click()", links[3])
    browser.wait(page, f"return {FIRST}.startsWith('Checkpoint {slowest[3]}:')")
    assert page.execute_script("return location.hash") == f"#s1-c{slowest[3]}"
    assert drawn(page) != before


def test_the_keyboard_alone_chooses(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    slowest = by_pause()
    first = page.find_element("css selector", "#s1 .slow th a")
    page.execute_script("arguments[0].focus()", first)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    browser.wait(page, f"return {FIRST}.startsWith('Checkpoint {slowest[0]}:')")
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    browser.wait(page, f"return {FIRST}.startsWith('Checkpoint {slowest[1]}:')")
    assert page.switch_to.active_element.text == str(slowest[1])
    assert page.switch_to.active_element.get_attribute("aria-current") == "true"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.execute_script(outline) != "none"
    page.switch_to.active_element.send_keys(Keys.ARROW_UP)
    browser.wait(page, f"return {FIRST}.startsWith('Checkpoint {slowest[0]}:')")
    field = page.find_element("id", "c1")
    field.clear()
    field.send_keys("7", Keys.ENTER)
    browser.wait(page, f"return {FIRST}.startsWith('Checkpoint 7:')")
    field.send_keys(Keys.TAB, Keys.TAB, Keys.TAB, Keys.SPACE)
    browser.wait(page, f"return {FIRST}.startsWith('Checkpoint 8:')")


def test_tab_reaches_every_control(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    reached = set()
    for _ in range(300):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(page.execute_script("const e = document.activeElement; return e.id || e.dataset.step || e.tagName"))
    assert {"theme", "c1", "c2", "cp1", "-1", "1", "A", "SUMMARY"} <= reached


def test_an_address_chooses_and_one_that_is_not_there_is_told_of(driver: Any, address: str) -> None:
    browser.open_page(driver, address + "#s2-c5")
    said = "document.querySelector('#s2 .said').textContent"
    assert driver.execute_script(f"return {said}").startswith("Checkpoint 5:")
    browser.open_page(driver, address + "#s1-c400")
    assert "400 is not in this page; the nearest that is: Checkpoint 20:" in driver.execute_script(f"return {FIRST}")
    browser.open_page(driver, address + "#s1-c%3Cb%3E")
    assert driver.execute_script(f"return {FIRST}").startswith("There is no checkpoint “<b>”; the slowest: Checkpoint ")
    browser.open_page(driver, address + "#s1-c%E0")
    assert "“%E0”" in driver.execute_script(f"return {FIRST}")


def test_a_waterfall_has_the_records_own_nanoseconds(driver: Any, address: str) -> None:
    record = primary_records()[6]
    browser.open_page(driver, f"{address}#s1-c{record['sequence']}")
    bars = driver.execute_script(
        "const b = document.querySelector('#s1 .waterfall').data[0]; return [b.y, b.base, b.x]"
    )
    lengths = {phase: round(x * 1e6) for phase, x in zip(bars[0], bars[2], strict=True)}
    assert lengths == {phase: record[f"{phase}_ns"] for phase in lengths}
    assert list(lengths) == ["stat", "dev", "ram", "put", "recv", "load", "resume"]
    begins = {phase: round(x * 1e6) for phase, x in zip(bars[0], bars[1], strict=True)}
    marks = record["marks_ns"]
    assert begins["put"] == marks["vmstate-size"] - record["begin_ns"]
    assert begins["resume"] == marks["vmstate-loaded"] - record["begin_ns"]
    assert begins["resume"] + lengths["resume"] == record["total_ns"]


def test_choosing_a_bar_shows_its_checkpoint(page: Any) -> None:
    from selenium.webdriver import ActionChains

    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    page.execute_script("document.querySelector('.plot').scrollIntoView({block: 'center'})")
    browser.wait(page, "return document.querySelectorAll('.plot .barlayer .trace').length > 5")
    ram = page.find_elements("css selector", "#s1 .plot .barlayer .trace")[2]
    bar = ram.find_elements("css selector", ".point")[4]
    ActionChains(page).move_to_element(bar).click().perform()
    browser.wait(page, "return location.hash.startsWith('#s1-c')")
    assert page.execute_script("return location.hash") == f"#s1-c{primary_records()[4]['sequence']}"


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colours_follow_the_system_and_the_button(driver: Any, address: str, system: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": system}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        browser.open_page(driver, address)
        driver.execute_script("document.querySelector('.plot').scrollIntoView({behavior: 'instant', block: 'center'})")
        browser.wait(driver, "return document.querySelector('.plot .main-svg')")
        paper = "return getComputedStyle(document.body).backgroundColor"
        svg = "return getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor"
        before = driver.execute_script(paper)
        assert before == ("rgb(255, 255, 255)" if system == "light" else "rgb(20, 24, 29)")
        assert driver.execute_script(svg) == before
        driver.execute_script("scrollTo({top: 0, behavior: 'instant'})")
        driver.find_element("id", "theme").click()
        after = driver.execute_script(paper)
        assert after != before
        browser.wait(driver, f"return (() => {{ {svg} }})() === '{after}'")
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_never_scrolls_sideways(driver: Any, address: str, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.open_page(driver, address)
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_are_text_whatever_is_in_them(driver: Any, tmp_path: Path) -> None:
    recording = tmp_path / "hostile.jsonl"
    recording.write_text(PAIR.read_text().replace('"colo-primary"', json.dumps(HOSTILE)))
    path = tmp_path / "hostile.html"
    path.write_text(page_of(recording))
    driver.get_log("browser")
    browser.open_page(driver, path.as_uri())
    headings = driver.execute_script("return [...document.querySelectorAll('h2')].map((h) => h.textContent)")
    assert headings[0] == HOSTILE.replace("\u202e", "\\u202e") + " primary"
    assert driver.execute_script("return document.querySelectorAll('img, b').length") == 0
    assert complaints(driver) == []


def test_a_long_recording_carries_a_part_and_says_so(
    driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WHOLE", 20)
    monkeypatch.setattr(module, "PART", 20)
    monkeypatch.setattr(module, "LEAST_OF_SERIES", 10)
    found = open_recording(PAIR)
    path = tmp_path / "part.html"
    path.write_text(html(report_of([str(PAIR)], found.problems, found.series(), slowest=3)))
    browser.open_page(driver, path.as_uri())
    words = driver.find_element("css selector", "#s1 .chosen").text
    carried = re.search(r"Of 20 completed checkpoints this page carries (\d+)", words)
    assert carried and 3 <= int(carried[1]) <= 10
    assert [int(a.text) for a in driver.find_elements("css selector", "#s1 .slow th a")] == by_pause()[:3]


def test_no_script_can_end_in_data() -> None:
    text = json_text({"name": "</script><!-- <script>", "other": "\u2028"})
    assert "<" not in text and ">" not in text
    assert json.loads(text) == {"name": "</script><!-- <script>", "other": "\u2028"}
