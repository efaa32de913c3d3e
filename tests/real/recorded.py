"""What the real tests of modes and changes share: a recording of a pair, and what the lab had set meanwhile."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from colo_lab.pair import ColoPair
from colo_lab.trouble_modes import Switch
from support import colotrace

from colotrace.analysis.findings.find import findings_of
from colotrace.analysis.findings.finding import Finding
from colotrace.analysis.findings.rule import all_rules
from colotrace.analysis.findings.sample import sample_of
from colotrace.recording import open_recording

Rows = list[dict[str, Any]]
RULES = [rule for rule in all_rules() if rule.name in ("bimodal", "drift")]


def recorded(pair: ColoPair, path: Path, n: int) -> tuple[dict[str, Finding], Rows]:
    """What both rules find in the next checkpoints of the primary, by rule and phase; and the checkpoints."""
    run = colotrace("attach", "--pid", pair.primary.pid, "-n", n, "--output", path)
    assert run.returncode == 0, run.stderr
    assert pair.trouble() == []
    (series,) = open_recording(path).series()
    findings = findings_of(sample_of(series), RULES)
    rows = [row for line in path.read_text("ascii").splitlines() if (row := json.loads(line))["type"] == "checkpoint"]
    return {f"{one.rule} {one.phase}": one for one in findings.found}, [r for r in rows if r["outcome"] == "completed"]


def by_setting(rows: Rows, switch: Switch, column: str) -> dict[int, float]:
    """The median of a column under each of the lab's settings."""
    settings = {switch.setting_at(row["begin_ns"]) for row in rows} - {None}
    return {
        one: statistics.median(row[column] for row in rows if switch.setting_at(row["begin_ns"]) == one)
        for one in settings
        if one is not None
    }
