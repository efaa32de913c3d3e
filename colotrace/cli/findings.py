"""What attach does for findings: keeps checkpoints as they come, and has the rules look at them at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from colotrace.analysis.findings.recent import Recent
from colotrace.checkpoint import Checkpoint
from colotrace.phases import Role
from colotrace.privileges import keep_numpy_to_one_thread, needed
from colotrace.recording.header import Header, parse_header
from colotrace.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from colotrace.analysis.findings.finding import Findings


class Looker:
    """Takes the checkpoints of a run."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, Role], Recent] = {}
        self._headers: dict[int, Header] = {}

    def begin(self, headers: Sequence[Mapping[str, Any]]) -> None:
        """Takes the lines `attached`, while there still are privileges. Loads the rules if it must be now."""
        self._headers = {header["pid"]: parse_header(header) for header in headers}
        keep_numpy_to_one_thread()
        if not _readable_later(_code()):
            import numpy.fft
            import numpy.ma  # noqa: F401 (numpy itself loads either only when it is used)

            from colotrace.analysis.findings import find, sample, wording  # noqa: F401
            from colotrace.analysis.findings.rule import all_rules

            all_rules()

    def add(self, checkpoint: Checkpoint) -> None:
        """Takes the next checkpoint."""
        key = (checkpoint.pid, checkpoint.role)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = Recent()
        kept.add(checkpoint)

    def findings(self, pid: int) -> dict[Role, Findings]:
        """What the rules say of one process, by role."""
        from colotrace.analysis.findings.find import findings_of
        from colotrace.analysis.findings.sample import sample_of_recent

        return {
            role: findings_of(sample_of_recent(role, self._headers[pid], kept))
            for (whose, role), kept in self._kept.items()
            if whose == pid and kept.completed
        }


def _code() -> list[str]:
    """Files that stand for all that looking takes: numpy's, and colotrace's own."""
    numpy = find_spec("numpy")
    return [__file__, *([numpy.origin] if numpy and numpy.origin else [])]


def _readable_later(files: Sequence[str]) -> bool:
    """Whether they can be read without any privilege: then numpy's 14 MiB need not be there while a VM is watched."""

    def all_open() -> bool:
        for file in files:
            open(file, "rb").close()
        return True

    try:
        return not needed({"CAP_DAC_OVERRIDE": all_open})
    except OSError:
        return False


def findings_json(found: Mapping[Role, Findings]) -> dict[str, object]:
    """The member `findings` of a summary line."""
    return {role.value: one.as_json() for role, one in found.items()}


def findings_view(found: Mapping[Role, Findings], *, wrap: bool) -> RenderableType:
    """Findings by role, for a terminal, whose lines wrap, or a mail or a pipe, whose lines are as long as they are."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from colotrace.analysis.findings.wording import details, head, none, rest

    parts: list[RenderableType] = []

    def add(indent: int, line: str, style: str) -> None:
        text = Text(printable(line), style=style)
        parts.append(Padding(text, (0, 0, 0, indent)) if wrap else Text(" " * indent) + text)

    for role, one in found.items():
        add(0, f"findings, {role.value}: {len(one.found) or none(one)}", "bold")
        for finding in one.found:
            add(2, head(finding), "bold yellow")
            for line in details(finding):
                add(4, line, "")
        for line in rest(one):
            add(2, line, "dim")
    return Group(*parts)
