"""The command line of scripts/lab: parses, brings the pair up, runs COMMAND, cleans up."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import orphans
from .command import NET_FILE, Command
from .errors import LabError
from .net import Traffic
from .pair import ColoPair
from .settings import DEFAULT_QEMU, TRANSPORTS, Settings
from .signals import Signals, Stopped

EPILOG = """\b
COMMAND finds in its environment:
  COLO_PRIMARY_PID COLO_SECONDARY_PID   QEMU's own pids
  COLO_PRIMARY_QMP COLO_SECONDARY_QMP   QMP unix sockets that nobody else uses
  COLO_DIRTY_MIB COLO_VCPUS COLO_DELAY_MS COLO_TRANSPORT   the settings
  COLO_SWEEP_MS    measured: one sweep of the guest over its range
  COLO_LAB_DIR     the run directory; it goes away with the lab
  COLO_ARMED_FILE  with --wait-armed: create it to let COLO begin
  COLO_NET_FILE    with --net: the lab's counts so far, as JSON

\b
Examples:
  Two minutes of checkpoints to look at:
    scripts/lab -- sleep 120
  Time 30 checkpoints of the primary, over TCP:
    scripts/lab --transport tcp -- sh -c \\
      'scripts/colotrace attach --pid $COLO_PRIMARY_PID --checkpoints 30'
  Begin COLO only once COMMAND is ready for it:
    scripts/lab --wait-armed -- sh -c 'touch $COLO_ARMED_FILE; sleep 10'
  See which checkpoints colo-compare asks for:
    scripts/lab --net --delay-ms 1000 -- sh -c \
      'scripts/colotrace attach --pid $COLO_PRIMARY_PID -n 20 --json'
  Another QEMU, in the tree that mmdebstrap unpacked:
    scripts/lab --chroot /srv/trixie -- sh -c 'echo $COLO_PRIMARY_PID'

\b
Exit code: COMMAND's own (128+N if signal N ended it), or
  2 bad request     69 QEMU, /dev/kvm, binutils or the chroot missing
  70 no COLO reached or QEMU failed     71 QEMU built without COLO
  72 COMMAND never armed     126/127 COMMAND not runnable/not found
"""


def say(line: str) -> None:
    """A progress line. On stderr: stdout is COMMAND's."""
    sys.stderr.write(f"lab: {line}\n")
    sys.stderr.flush()


def run(settings: Settings, words: list[str], wait_armed: bool) -> int:
    """One lab from beginning to end; COMMAND's exit code. Raises LabError, and Stopped if a signal came first."""
    signals = Signals()
    orphans.adopt()
    pair = ColoPair(settings, say=say, check=signals.check)
    command: Command | None = None
    traffic: Traffic | None = None
    try:
        pair.start()
        if wait_armed:
            command = Command(words, pair, signals, say)
            command.wait_armed(settings.armed_timeout_s)
            pair.start_colo()
        else:
            pair.start_colo()
            command = Command(words, pair, signals, say)
        if pair.network is not None:
            monitor = pair.primary.monitor
            traffic = Traffic(pair.network, pair.run / NET_FILE, lambda: monitor.count("RESUME"), settings.net_every_s)
        return command.wait()
    except Stopped:
        if command is None:
            raise
        return command.wait()  # it gets the signal, and time to end
    except LabError:
        if command is not None:
            command.stop()
        raise
    finally:
        if traffic is not None and pair.network is not None:
            traffic.close()
            say(f"network: {', '.join(f'{count} {word}' for word, count in pair.network.counts().items())}")
        pair.close()
        orphans.end()


@click.command(epilog=EPILOG, context_settings={"max_content_width": 100})
@click.option("--qemu", metavar="PATH", default=DEFAULT_QEMU, show_default=True, help="The QEMU binary.")
@click.option(
    "--chroot",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Run QEMU inside this system; --qemu is a path in there. Needs root.",
)
@click.option("--vcpus", metavar="N", default=1, show_default=True, help="vCPUs of each VM.")
@click.option("--memory-mib", metavar="N", default=128, show_default=True, help="Memory of each VM.")
@click.option(
    "--dirty-mib", metavar="N", default=32, show_default=True, help="What the guest overwrites for ever; 0: it halts."
)
@click.option(
    "--delay-ms", metavar="N", default=200, show_default=True, help="From one checkpoint's begin to the next."
)
@click.option("--transport", type=click.Choice(TRANSPORTS), default="unix", show_default=True)
@click.option("--net", is_flag=True, help="Traffic through filters and colo-compare, with forced mismatches.")
@click.option("--net-every", metavar="S", default=2.0, show_default=True, help="With --net: between forced mismatches.")
@click.option("--wait-armed", is_flag=True, help="Start COMMAND first, and COLO once it has created $COLO_ARMED_FILE.")
@click.option("--ready-timeout", metavar="S", default=30.0, show_default=True, help="Seconds to wait for COLO.")
@click.argument("command", metavar="-- COMMAND ...", nargs=-1, required=True, type=click.UNPROCESSED)
def main(
    qemu: str,
    chroot: Path | None,
    vcpus: int,
    memory_mib: int,
    dirty_mib: int,
    delay_ms: int,
    transport: str,
    net: bool,
    net_every: float,
    wait_armed: bool,
    ready_timeout: float,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND beside a real COLO pair: two QEMUs under KVM on loopback, with no disk and no NIC, whose guest
    overwrites --dirty-mib of memory for ever. Nothing is left behind afterwards."""
    settings = Settings(
        qemu=qemu,
        chroot=chroot,
        vcpus=vcpus,
        memory_mib=memory_mib,
        dirty_mib=dirty_mib,
        delay_ms=delay_ms,
        transport=transport,
        net=net,
        net_every_s=net_every,
        ready_timeout_s=ready_timeout,
    )
    try:
        sys.exit(run(settings, list(command), wait_armed))
    except LabError as error:
        say(f"error: {error}")
        if error.remedy:
            say(f"remedy: {error.remedy}")
        sys.exit(error.exit_code)
    except Stopped as stopped:
        say(f"stopped by {stopped}")
        sys.exit(stopped.exit_code)
