"""colotrace info-checkpoint: the seed's object, as the patched QEMU's QMP command would return it."""

from __future__ import annotations

import json

import click

from colotrace.checkpoint import Checkpoint
from colotrace.cli.dropping import give_up
from colotrace.cli.options import ONE_PID, QMP, SEED_COMPATIBLE
from colotrace.cli.stopping import Stopper
from colotrace.errors import NothingSeenError
from colotrace.qmp.client import query_migrate
from colotrace.session import attach
from colotrace.summary import info_checkpoint
from colotrace.target.discovery import only_qemu
from colotrace.text import printable

_EPILOG = """\b
Examples:
  sudo colotrace info-checkpoint --pid 4711
  sudo colotrace info-checkpoint --pid 4711 --checkpoints 100 --qmp /run/qmp.sock --seed-compatible
"""


@click.command("info-checkpoint", epilog=_EPILOG)
@ONE_PID
@click.option(
    "--checkpoints", "-n", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Over how many."
)
@click.option("--duration", "-d", type=click.FloatRange(0, min_open=True), metavar="S", help="Wait at most S seconds.")
@QMP
@SEED_COMPATIBLE
def command(pid: int | None, checkpoints: int, duration: float | None, qmp: str | None, seed_compatible: bool) -> None:
    """Prints the object that QEMU's info_checkpoint command returns where the seed's patch is present.

    It is measured from now on, over --checkpoints completed checkpoints. Times are nanoseconds, averages over tot_num
    but for tot_time, tot_num and init_time; what cannot be known is null, and standard error says why.
    """
    pid = pid or only_qemu()
    if qmp:
        query_migrate(qmp, pid)  # a socket that does not answer is better known before the run than after it
    with Stopper(duration) as stopper, attach(pid) as session:
        give_up(session, qmp)
        stopper.watch(session)  # its timer is a thread, and has what its starter has
        done = 0
        for event in session.events():
            done += isinstance(event, Checkpoint) and event.completed
            if done >= checkpoints:
                session.detach()
        session.detach()
        summary = session.summaries()[0]
    if not summary.checkpoints:
        raise NothingSeenError("no checkpoint completed", "Is COLO running? colotrace attach tells more.")
    info = query_migrate(qmp) if qmp else None
    totals = max(summary.roles.values(), key=lambda one: one.checkpoints)
    answer = info_checkpoint(totals, summary.plan, info)
    for name, reason in answer.missing.items():
        click.echo(f"colotrace: {name} is null: {printable(reason)}", err=True)
    click.echo(json.dumps(answer.as_json(seed_compatible=seed_compatible), indent=2))
    if summary.checkpoints < checkpoints and not stopper.interrupted:
        raise NothingSeenError(f"{summary.checkpoints} checkpoints completed, {checkpoints} were asked for")
