"""A screenshot of the page of `colotrace merge`: waits over the run, and one checkpoint; see scripts/merge_picture."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

from merge_shifts import OtherClock, read_lines, write_lines
from report_picture import keep, screenshot

AHEAD_NS, DRIFT = 351_000_000_000, 50e-6
DRAWN = "return [...document.querySelectorAll('#p1 .plot, #p1 .lanes')].every((p) => p.querySelector('path'))"
SHORTER = """
document.querySelectorAll('#p1 figcaption, #p1 .chosen .muted, #p1 .choose').forEach((one) => one.remove());
document.querySelectorAll('.modebar').forEach((one) => one.remove());
document.documentElement.style.overflow = 'hidden';
"""
PLACE = """
const top = document.querySelector('#p1 .plot').getBoundingClientRect().top;
return [top + scrollY - 4, document.querySelector('#p1 .lanes').getBoundingClientRect().bottom + scrollY + 4]
"""


def main(recorded: list[str], picture: Path, dark: bool) -> int:
    """Writes the picture of a pair whose secondary is put on another host's clock; 1 if it is too large."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        primary, secondary = (unpacked(path, folder) for path in recorded)
        lines = read_lines(secondary)
        begin = next(line["begin_ns"] for line in lines if line["type"] == "checkpoint" and line["begin_ns"])
        other = write_lines(folder / "other.jsonl", map(OtherClock(AHEAD_NS, DRIFT, begin).line, lines))
        page = folder / "both.html"
        words = [sys.executable, "-m", "colotrace", "merge", primary, other, "--output", str(page)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return keep(screenshot(page, folder, DRAWN, SHORTER, PLACE, dark), picture)


def unpacked(path: str, folder: Path) -> str:
    """The name of a recording that is no .gz."""
    if not path.endswith(".gz"):
        return path
    target = folder / Path(path).stem
    target.write_bytes(gzip.decompress(Path(path).read_bytes()))
    return str(target)


if __name__ == "__main__":
    *sides, output = [word for word in sys.argv[1:] if word != "--dark"]
    sys.exit(main(sides, Path(output), "--dark" in sys.argv))
