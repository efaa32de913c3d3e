"""colotrace remedy: changes one setting of a running QEMU, measures what that gains, and takes it back."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from colotrace.cli import print_error
from colotrace.cli.dropping import give_up
from colotrace.cli.stopping import Stopper
from colotrace.errors import ColotraceError, NothingSeenError
from colotrace.phases import Role
from colotrace.privileges import trials_of
from colotrace.recording.lines import json_line
from colotrace.remedy import expectation
from colotrace.remedy.changing import Change, UnsureError, apply, revert
from colotrace.remedy.gain import Gain, gains, load_gains
from colotrace.remedy.kept import open_kept
from colotrace.remedy.measuring import Measurer, Sample
from colotrace.remedy.registry import REMEDIES, Remedy
from colotrace.remedy.setting import MigrationParameter, NoDelay, Setting, must_be_primary
from colotrace.remedy.stream import look_up
from colotrace.session import Session, attach
from colotrace.target.discovery import looks_like_qemu, only_qemu
from colotrace.target.process import Process
from colotrace.target.sockets import socket_descriptors
from colotrace.text import printable
from colotrace.units import time_text

_EPILOG = """\b
nodelay      sets TCP_NODELAY on the migration stream, at the end of each --pid
bandwidth    sets max-bandwidth to --value bytes/s, over --qmp
delay        sets x-checkpoint-delay to --value ms, over --qmp; QEMU makes a checkpoint at once

\b
Examples:
  sudo colotrace remedy nodelay --pid 4711                 what it would do and save; changes nothing
  sudo colotrace remedy nodelay --pid 4711 --pid 4712 --apply
  sudo colotrace remedy nodelay --pid 4711 --pid 4712 --revert
  sudo colotrace remedy delay --pid 4711 --qmp /run/vm/qmp.sock --value 500 --apply
"""


@click.command("remedy", epilog=_EPILOG)
@click.argument("name", type=click.Choice([*REMEDIES]))
@click.option("--pid", "-p", "pids", type=click.IntRange(1), multiple=True, metavar="PID",
              help="A QEMU's process; for nodelay one or both ends. Default: the only QEMU here.")  # fmt: skip
@click.option("--apply", "do_apply", is_flag=True, help="Change it; what was there is kept for --revert.")
@click.option("--revert", "do_revert", is_flag=True, help="Bring back what was there before --apply, at once.")
@click.option("--checkpoints", "-n", type=click.IntRange(1), default=30, show_default=True, metavar="N",
              help="How many to measure before, and after.")  # fmt: skip
@click.option("--qmp", metavar="SOCKET", type=click.Path(), help="bandwidth, delay: the primary's QMP socket.")
@click.option("--value", type=click.IntRange(1), metavar="V", help="bandwidth: bytes/s; delay: ms.")
@click.option("--socket", "inodes", type=click.IntRange(1), multiple=True, metavar="INODE",
              help="nodelay: this socket is the stream; for when colotrace cannot prove which one is.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str, pids: tuple[int, ...], do_apply: bool, do_revert: bool, checkpoints: int, qmp: str | None,
    value: int | None, inodes: tuple[int, ...], as_json: bool,
) -> None:  # fmt: skip
    """Changes one setting of a running QEMU, and measures what that gains.

    Without --apply it measures, and says what it would do and what that might save. Nothing else in the VM is touched,
    and nothing is restarted.
    """
    remedy = REMEDIES[name]
    if do_apply and do_revert:
        raise click.UsageError("--apply and --revert exclude each other")
    targets = list(dict.fromkeys(pids)) or [only_qemu()]
    _check(remedy, targets, qmp, value, inodes, do_revert)
    if do_revert:
        _revert(remedy, targets, qmp, as_json)
        return
    if remedy.parameter and qmp:
        must_be_primary(remedy.parameter, targets[0], qmp)
    wanted = value if remedy.parameter and value else 1
    run = _Run(name)
    with Stopper(None) as stopper, attach(*targets) as session:
        stopper.watch(session)
        measurer = Measurer(session, _progress)
        try:
            run.settings = _settings(remedy, measurer, targets, qmp, inodes)
            run.now = [setting.read() for setting in run.settings]
            run.kept = _give_up(session, run, qmp if do_apply else None)
            run.before = measurer.take(targets, checkpoints, "before")
            if do_apply and not measurer.interrupted:
                for setting in run.settings:
                    run.changes.append(apply(name, setting, wanted))
                if any(one.before != one.after for one in run.changes):
                    run.after = measurer.take(targets, checkpoints, "after")
        except ColotraceError as error:
            if not (stopper.interrupted and isinstance(error, NothingSeenError)):
                if run.changes or not isinstance(error, UnsureError):
                    error.message += run.state()
                raise
    expected = _expected(remedy, run.before, run.now, wanted)
    found = {pid: gains(run.before[pid], after) for pid, after in run.after.items() if after.count}
    if as_json:
        click.echo(json_line(_as_json(run, wanted, stopper.interrupted, expected, found)))
        return
    _say_expected(run.settings, run.now, wanted, expected)
    for pid, rows in found.items():
        _table(run.before[pid], run.after[pid], rows)
    click.echo(f"colotrace: {'interrupted' if stopper.interrupted else 'done'}{run.state()}")


@dataclass
class _Run:
    """What a run has come to so far. `kept` are the capabilities that it has kept; None if it could give up none."""

    name: str
    settings: list[Setting] = field(default_factory=list)
    now: list[int] = field(default_factory=list)
    kept: list[str] | None = None
    before: dict[int, Sample] = field(default_factory=dict)
    after: dict[int, Sample] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def state(self) -> str:
        """What state the VM is left in, by another look, and how to bring back what was there."""
        changed = [one for one in self.changes if one.before != one.after]
        if changed:
            text = "; " + ", ".join(f"{printable(str(one.setting))} {_is_now(one)}" for one in changed)
        else:
            text = "; nothing was changed" + (", as all of it was set already" if self.changes else "")
        kept = [one for one in self.changes if one.kept is not None]
        if kept:
            pids = " ".join(f"--pid {one.setting.pid}" for one in kept)
            values = " and ".join(dict.fromkeys(str(one.kept) for one in kept))
            text += f". `colotrace remedy {self.name} {pids} --revert` brings back {values}"
        return text


def _is_now(change: Change) -> str:
    try:
        now = change.setting.read()
    except ColotraceError:
        return f"was set to {change.after}, and cannot be read any more"
    return f"is {now}, and stays so" if now == change.after else f"was set to {change.after}, and is {now} now"


def _give_up(session: Session, run: _Run, qmp: str | None) -> list[str] | None:
    """Gives up the privileges that it does not take to look at the VM, and to read, change and keep its settings."""
    load_gains()  # it is after the change that they are needed
    look = trials_of(session)["CAP_SYS_PTRACE"]

    def can_read() -> bool:
        for setting in run.settings:
            if isinstance(setting, NoDelay):
                setting.read()
        return look()

    def can_keep() -> bool:
        for target in session.targets:
            with open_kept(run.name, target.process):
                pass
        return not qmp or os.access(qmp, os.W_OK, effective_ids=True)

    kept = give_up(session, more={"CAP_SYS_PTRACE": can_read, "CAP_DAC_OVERRIDE": can_keep}).details["kept"]
    return [str(name) for name in kept] if isinstance(kept, list) else None


def _as_json(
    run: _Run,
    wanted: int,
    interrupted: bool,
    expected: dict[int, expectation.Expectation],
    found: dict[int, list[Gain]],
) -> dict[str, object]:
    return {
        "type": "remedy", "remedy": run.name, "applied": bool(run.changes), "interrupted": interrupted,
        "settings": [{**setting.as_json(), "value": at, "would_be": wanted}
                     for setting, at in zip(run.settings, run.now, strict=True)],
        "changes": [change.as_json() for change in run.changes],
        "expectations": [{"pid": pid, "saves_ns": one.saves_ns, "reason": one.reason} for pid, one in expected.items()],
        "gains": [
            {"pid": pid, "role": getattr(run.before[pid].role, "value", None),
             "checkpoints_before": run.before[pid].count, "checkpoints_after": run.after[pid].count,
             "rows": [gain.as_json() for gain in rows]}
            for pid, rows in found.items()
        ],
        "privileges_kept": run.kept,
    }  # fmt: skip


def _check(
    remedy: Remedy, pids: Sequence[int], qmp: str | None, value: int | None, inodes: Sequence[int], reverting: bool
) -> None:
    if reverting and (value is not None or inodes):
        raise click.UsageError("--revert brings back what is kept: it takes no --value and no --socket")
    if remedy.parameter and not reverting:
        if not qmp or value is None:
            raise click.UsageError(f"{remedy.name} needs --qmp SOCKET and --value V ({remedy.unit})")
        if len(pids) > 1 or inodes:
            raise click.UsageError(f"{remedy.name} takes one --pid, the primary's, and no --socket")
    if not remedy.parameter and (qmp or value is not None):
        raise click.UsageError(f"{remedy.name} takes no --qmp and no --value")
    if len(pids) > 2:
        raise click.UsageError("a pair has two processes: give one or two --pid")
    for pid in () if reverting else pids:
        if not looks_like_qemu(Process(pid).exe_name()):
            click.echo(f"colotrace: note: process {pid} is not called like a QEMU", err=True)


def _settings(
    remedy: Remedy, measurer: Measurer, pids: list[int], qmp: str | None, inodes: Sequence[int]
) -> list[Setting]:
    if remedy.parameter and qmp:
        return [MigrationParameter(pids[0], qmp, remedy.parameter)]
    if not inodes:
        return [NoDelay(stream) for stream in measurer.streams(pids)]
    found: list[Setting] = []
    for inode in inodes:
        owner = next((pid for pid in pids if inode in socket_descriptors(pid)), pids[0])
        found.append(NoDelay(look_up(owner, inode, "")))
    return found


def _expected(
    remedy: Remedy, before: dict[int, Sample], now: list[int], wanted: int
) -> dict[int, expectation.Expectation]:
    if remedy.name == "nodelay":
        ends: set[Role | None] = {sample.role for sample in before.values()}
        return {pid: expectation.nodelay(one, ends, all(now)) for pid, one in before.items()}
    if remedy.name == "bandwidth":
        return {pid: expectation.bandwidth(one, now[0]) for pid, one in before.items()}
    return {pid: expectation.delay(one, now[0], wanted) for pid, one in before.items()}


def _revert(remedy: Remedy, pids: Sequence[int], qmp: str | None, as_json: bool) -> None:
    trouble: list[ColotraceError] = []
    changes = []
    for pid in pids:
        try:
            changes.append(revert(remedy.name, pid, qmp))
        except ColotraceError as error:
            trouble.append(error)  # the other end is still reverted
    if as_json:
        click.echo(json_line({"type": "remedy", "remedy": remedy.name, "reverted": [one.as_json() for one in changes]}))
    else:
        for one in changes:
            foreign = one.applied is not None and one.before not in (one.applied, one.after)
            also = f" (not the {one.applied} of --apply: somebody else had changed it)" if foreign else ""
            click.echo(f"reverted: {printable(str(one.setting))} was {one.before}{also} and is {one.after} again")
    for other in trouble[1:]:
        print_error(other)
    if trouble:
        raise trouble[0]


def _say_expected(
    settings: list[Setting], now: list[int], wanted: int, expected: dict[int, expectation.Expectation]
) -> None:
    for setting, value in zip(settings, now, strict=True):
        click.echo(f"{printable(str(setting))}: {value}, the remedy is {wanted}")
        if isinstance(setting, NoDelay):
            click.echo(f"  proven: {setting.stream.evidence}")
    for pid, one in expected.items():
        saves = "unknown" if one.saves_ns is None else f"up to {time_text(one.saves_ns)} a checkpoint"
        click.echo(f"process {pid} saves {saves if one.saves_ns != 0 else 'nothing'}: {one.reason}")


def _table(before: Sample, after: Sample, rows: list[Gain]) -> None:
    role = before.role.value if before.role else "unknown role"
    click.echo(f"\n{role} (pid {before.pid}): means of {before.count} checkpoints before, {after.count} after")
    click.echo(f"{'phase':8}{'before':>10}{'after':>10}{'saved':>10}  after/before, 95 %")
    for gain in rows:
        cells = [time_text(ns) for ns in (gain.before_ns, gain.after_ns, gain.before_ns - gain.after_ns)]
        interval = "too few" if gain.low is None or gain.high is None else f"{gain.low:.3f} to {gain.high:.3f}"
        remark = "  not significant" if gain.significant is False else ""
        click.echo(f"{gain.row:8}{cells[0]:>10}{cells[1]:>10}{cells[2]:>10}  {interval}{remark}")


def _progress(word: str, done: int, wanted: int) -> None:
    if sys.stderr.isatty():
        end = "\r\x1b[K" if done >= wanted else ""
        click.echo(f"\rcolotrace: {word}: {done} of {wanted}\x1b[K{end}", err=True, nl=False)
