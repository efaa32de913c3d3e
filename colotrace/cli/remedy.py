"""colotrace remedy: changes one setting of a running QEMU, measures what that gains, and takes it back."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from colotrace.cli.stopping import Stopper
from colotrace.errors import ColotraceError
from colotrace.phases import Role
from colotrace.recording.lines import json_line
from colotrace.remedy import expectation
from colotrace.remedy.changing import Change, apply, revert
from colotrace.remedy.gain import Gain, gains
from colotrace.remedy.measuring import Measurer, Sample
from colotrace.remedy.registry import REMEDIES, Remedy
from colotrace.remedy.setting import MigrationParameter, NoDelay, Setting
from colotrace.remedy.stream import look_up
from colotrace.session import attach
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
@click.option("--qmp", metavar="SOCKET", type=click.Path(), help="bandwidth, delay: the QEMU's QMP socket.")
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
        _revert(remedy, targets, as_json)
        return
    changes: list[Change] = []
    with Stopper(None) as stopper, attach(*targets) as session:
        stopper.watch(session)
        measurer = Measurer(session, _progress)
        try:
            settings = _settings(remedy, measurer, targets, qmp, inodes)
            now = [setting.read() for setting in settings]
            wanted = value if remedy.parameter and value else 1
            before = measurer.take(targets, checkpoints, "before")
            expected = _expected(remedy, before, now, wanted)
            after: dict[int, Sample] = {}
            if do_apply and not measurer.interrupted:
                for setting in settings:
                    changes.append(apply(name, setting, wanted))
                after = measurer.take(targets, checkpoints, "after")
        except ColotraceError as error:
            error.message += _state(changes)
            raise
    result = {
        "type": "remedy", "remedy": name, "applied": bool(changes), "interrupted": stopper.interrupted,
        "settings": [{**setting.as_json(), "value": at, "would_be": wanted}
                     for setting, at in zip(settings, now, strict=True)],
        "changes": [change.as_json() for change in changes],
        "expectations": [{"pid": pid, "saves_ns": one.saves_ns, "reason": one.reason} for pid, one in expected.items()],
    }  # fmt: skip
    found = {pid: gains(before[pid], after[pid]) for pid in after if after[pid].count}
    result["gains"] = [
        {"pid": pid, "role": getattr(before[pid].role, "value", None), "checkpoints_before": before[pid].count,
         "checkpoints_after": after[pid].count, "rows": [gain.as_json() for gain in rows]}
        for pid, rows in found.items()
    ]  # fmt: skip
    if as_json:
        click.echo(json_line(result))
        return
    _say_expected(settings, now, wanted, expected)
    for pid, rows in found.items():
        _table(before[pid], after[pid], rows)
    click.echo(f"colotrace: {'interrupted' if stopper.interrupted else 'done'}{_state(changes)}")


def _check(
    remedy: Remedy, pids: Sequence[int], qmp: str | None, value: int | None, inodes: Sequence[int], reverting: bool
) -> None:
    if remedy.parameter and not reverting:
        if not qmp or value is None:
            raise click.UsageError(f"{remedy.name} needs --qmp SOCKET and --value V ({remedy.unit})")
        if len(pids) > 1 or inodes:
            raise click.UsageError(f"{remedy.name} takes one --pid, the primary's, and no --socket")
    if not remedy.parameter and (qmp or value is not None):
        raise click.UsageError(f"{remedy.name} takes no --qmp and no --value")
    if len(pids) > 2:
        raise click.UsageError("a pair has two processes: give one or two --pid")
    for pid in pids:
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


def _revert(remedy: Remedy, pids: Sequence[int], as_json: bool) -> None:
    trouble: ColotraceError | None = None
    changes = []
    for pid in pids:
        try:
            changes.append(revert(remedy.name, pid))
        except ColotraceError as error:
            trouble = trouble or error  # the other end is still reverted
    if as_json:
        click.echo(json_line({"type": "remedy", "remedy": remedy.name, "reverted": [one.as_json() for one in changes]}))
    else:
        for one in changes:
            click.echo(f"reverted: {printable(str(one.setting))} was {one.before} and is {one.after} again")
    if trouble:
        raise trouble


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
        remark = "" if gain.significant else "  not significant"
        click.echo(f"{gain.row:8}{cells[0]:>10}{cells[1]:>10}{cells[2]:>10}  {interval}{remark}")


def _state(changes: list[Change]) -> str:
    """What state the VM is left in."""
    if not changes:
        return "; nothing was changed"
    text = ", ".join(f"{printable(str(one.setting))} is {one.after}" for one in changes)
    return f"; {text}, and stays so" + (" until --revert" if any(one.kept is not None for one in changes) else "")


def _progress(word: str, done: int, wanted: int) -> None:
    if sys.stderr.isatty():
        end = "\r\x1b[K" if done >= wanted else ""
        click.echo(f"\rcolotrace: {word}: {done} of {wanted} checkpoints\x1b[K{end}", err=True, nl=False)
