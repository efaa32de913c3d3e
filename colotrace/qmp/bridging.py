"""A whole run of the bridge: QEMU's monitor first, then the probes, then the listening socket; and back again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from colotrace.arming import AttachedTarget
from colotrace.checkpoint import Event, Note
from colotrace.errors import ColotraceError
from colotrace.qmp.bridge import Bridge, Counts
from colotrace.qmp.listener import Listener, check_path
from colotrace.qmp.recorder import TRACING_FAILED, KernelRecorder
from colotrace.qmp.schema import COMMANDS, is_patched
from colotrace.qmp.upstream import open_upstream
from colotrace.session import Session, attach

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Reporter(Protocol):
    """Where a run tells what it does."""

    def armed(self, target: AttachedTarget) -> None:
        """The probes are armed."""

    def happened(self, event: Event) -> None:
        """The session has seen something."""

    def tell(self, word: str, text: str, details: dict[str, object]) -> None:
        """Progress: a stable word, a sentence, details as JSON types."""


@dataclass(frozen=True)
class Settings:
    """What to put the bridge in front of, and how."""

    pid: int
    qmp: str
    listen: str
    override: bool = False
    """Answer from the kernel also if QEMU has the commands itself."""
    seed_compatible: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    counts: Counts
    checkpoints: int | None
    """Completed since the probes were armed; None if none were, because QEMU answers itself."""
    error: ColotraceError | None
    """Why it ended by itself; None if it was told to stop."""


GiveUp = Callable[[Session | None], Note | None]
"""Called in each thread as soon as it needs no more privileges than looking after the session, if there is one."""


def run(settings: Settings, reporter: Reporter, give_up: GiveUp = lambda _session: None) -> Outcome:
    """Serves until SIGINT, SIGTERM or SIGHUP, or until QEMU has gone. Privileges are the caller's affair: `give_up`.

    Raises OutputError, QmpError, or what attach() raises; then nothing was served, and nothing is left armed.
    """
    return asyncio.run(_run(settings, reporter, give_up))


async def _run(settings: Settings, reporter: Reporter, give_up: GiveUp) -> Outcome:
    stop = asyncio.Event()
    with _signals_set(stop):
        check_path(settings.listen)
        upstream = await open_upstream(settings.qmp, settings.pid)
        try:
            answers_itself = is_patched(await upstream.ask("query-commands"))
            if stop.is_set():
                return Outcome(Counts(), None, None)
            if settings.override or not answers_itself:
                async with _armed(settings, reporter, give_up) as (recorder, session):
                    bridge = Bridge(upstream, settings.pid, recorder, reporter.tell)
                    error = await _serve(bridge, settings, reporter, stop, lambda: give_up(session))
                    checkpoints = sum(one.checkpoints for one in session.totals(settings.pid).values())
                    return Outcome(bridge.counts, checkpoints, error)
            bridge = Bridge(upstream, settings.pid, None, reporter.tell)
            error = await _serve(bridge, settings, reporter, stop, lambda: give_up(None))
            return Outcome(bridge.counts, None, error)
        finally:
            with contextlib.suppress(Exception):  # how it ended has been told
                await upstream.hang_up()


async def _serve(
    bridge: Bridge, settings: Settings, reporter: Reporter, stop: asyncio.Event, give_up: Callable[[], Note | None]
) -> ColotraceError | None:
    if stop.is_set():
        return None
    with Listener(settings.listen) as listener:
        note = give_up()
        if note:
            reporter.happened(note)
        source = "kernel" if bridge.has_recorder else "qemu"
        who = "the kernel's totals" if bridge.has_recorder else "QEMU itself, which has them (--override: from outside)"
        reporter.tell(
            "listening",
            f"listening on {settings.listen}; {' and '.join(COMMANDS)} are answered from {who}",
            {"path": settings.listen, "pid": settings.pid, "qmp": settings.qmp, "source": source},
        )
        try:
            await bridge.serve(listener.socket, stop)
        except ColotraceError as error:
            return error
    return None


@contextlib.asynccontextmanager
async def _armed(
    settings: Settings, reporter: Reporter, give_up: GiveUp
) -> AsyncIterator[tuple[KernelRecorder, Session]]:
    """A session with its ring drained and its targets looked after by a thread."""
    session = await asyncio.to_thread(_attach, settings.pid, give_up)
    try:
        target = session.targets[0]
        reporter.armed(target)
        recorder = KernelRecorder(
            lambda: session.totals(settings.pid), target.plan, seed_compatible=settings.seed_compatible
        )

        def take(event: Event) -> None:
            recorder.take(event)
            reporter.happened(event)

        loop = asyncio.get_running_loop()
        pump = asyncio.create_task(
            asyncio.to_thread(_pump, session, give_up, lambda event: loop.call_soon_threadsafe(take, event))
        )
        try:
            yield recorder, session
        finally:
            session.stop()
            await pump  # before the maps that it reads are closed
    finally:
        session.close()


def _attach(pid: int, give_up: GiveUp) -> Session:
    """Attaches; the thread is kept for whatever is to be done next."""
    session = attach(pid)
    give_up(session)
    return session


def _pump(session: Session, give_up: GiveUp, pass_on: Callable[[Event], object]) -> None:
    """Receives until the session has ended. If it cannot any more, QMP is still served: it is the VM's lifeline."""
    try:
        give_up(session)  # it may be another thread than the one that has attached
        while not session.ended:
            for event in session.receive():
                pass_on(event)
        for event in session.receive(0):
            pass_on(event)
    except Exception as error:
        pass_on(Note(TRACING_FAILED, f"the probes are not looked after any more: {error!r}", session.targets[0].pid))


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    """Signals ask for the end; a second one of a kind ends the process at once. Ignored ones (nohup) stay ignored."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def ask(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            loop.add_signal_handler(number, ask, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
