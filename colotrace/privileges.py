"""Gives up privileges that are not needed any more: once the probes are armed, nearly all.

By prctl(2) and capset(2) themselves: no library for it is kept up. Both act on one thread, so each thread that is there
gives up its own; threads that it starts later have no more than it. The user stays the same, since a root without
capabilities is nobody special but for the files that it owns. What is kept is found by trying, not by rule: a thread
that has given up everything tries what will still have to be done.

    with colotrace.attach(pid) as session:
        kept = privileges.give_up(privileges.trials_of(session))

attach() itself leaves its caller's privileges alone: a program may have other uses for them. The commands do this.
"""

from __future__ import annotations

import ctypes as ct
import os
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colotrace.errors import ColotraceError
from colotrace.target.sites import site_states

if TYPE_CHECKING:
    from colotrace.session import AttachedTarget, Session

CAPABILITIES = {"CAP_DAC_OVERRIDE": 1, "CAP_SYS_PTRACE": 19}
"""Those that may still be needed (include/uapi/linux/capability.h)."""
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 23, 24, 38, 47
_AMBIENT_CLEAR_ALL = 4
_CAP_SETPCAP = 8
_VERSION_3 = 0x20080522
_WORD = 0xFFFFFFFF

Trial = Callable[[], bool]
"""Whether something works; raising ColotraceError or OSError is a no."""


class _Header(ct.Structure):
    _fields_ = (("version", ct.c_uint32), ("pid", ct.c_int))


class _Data(ct.Structure):
    _fields_ = (("effective", ct.c_uint32), ("permitted", ct.c_uint32), ("inheritable", ct.c_uint32))


_libc = ct.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ct.c_int, ct.c_ulong, ct.c_ulong, ct.c_ulong, ct.c_ulong)


def trials_of(session: Session | None, socket: str | None = None) -> dict[str, Trial]:
    """What will still have to be done after attaching, by the capability that it may take.

    Looking at the session's targets; and connecting to `socket`, or removing one if it is a directory.
    """
    trials: dict[str, Trial] = {}
    if session:
        targets = session.targets
        trials["CAP_SYS_PTRACE"] = lambda: all(_can_look(target) for target in targets)
    if socket:
        trials["CAP_DAC_OVERRIDE"] = lambda: os.access(socket, os.W_OK, effective_ids=True)
    return trials


def keep_numpy_to_one_thread() -> None:
    """To be called before numpy is imported: threads of its linear algebra, which nothing here uses, would be there
    when this one gives up its privileges, and keep theirs."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _can_look(target: AttachedTarget) -> bool:
    """Whether a target can be looked after: its status, its code, its file."""
    target.process.tracer()
    site_states(target.process, target.bias, target.probes)
    return target.process.is_same()


def give_up(trials: Mapping[str, Trial]) -> set[str]:
    """Gives up all capabilities of this thread but those whose trial does not work without; the names of these.

    For a process with one thread that is all. The caller's user and groups stay; what is given up cannot be had again,
    not even by running another program (no_new_privs).
    """
    return give_up_in_this_thread(needed(trials))


def needed(trials: Mapping[str, Trial]) -> set[str]:
    """The capabilities, by name, without which their trial fails; tried in a thread that has given up all.

    Raises OSError where the kernel or a sandbox does not let it.
    """
    found: set[str] = set()
    trouble: list[OSError] = []

    def look() -> None:
        try:
            give_up_in_this_thread(())
        except OSError as error:
            trouble.append(error)
            return
        for name, works in trials.items():
            try:
                if works():
                    continue
            except (ColotraceError, OSError):
                pass
            found.add(name)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return found


def give_up_in_this_thread(keep: Collection[str]) -> set[str]:
    """Leaves this thread `keep` of what it has, in effective and permitted, and nothing in the other sets.

    The names of those that it had. Raises OSError where the kernel or a sandbox does not let it.
    """
    mask = sum(1 << CAPABILITIES[name] for name in keep)
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    _call("capget", _libc.capget(ct.byref(header), data))
    held = data[0].permitted | data[1].permitted << 32
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    if (data[0].effective | data[1].effective << 32) >> _CAP_SETPCAP & 1:  # else no_new_privs alone must do
        capability = 0
        while _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
            _prctl(_PR_CAPBSET_DROP, capability)
            capability += 1
    for number, one in enumerate(data):
        one.effective = one.permitted = (held & mask) >> 32 * number & _WORD
        one.inheritable = 0
    _call("capset", _libc.capset(ct.byref(header), data))
    return {name for name in keep if held >> CAPABILITIES[name] & 1}


def held_by_threads() -> dict[int, int]:
    """The permitted capabilities of each thread of this process, as a mask."""
    found = {}
    for thread in Path("/proc/self/task").iterdir():
        try:
            text = (thread / "status").read_text("ascii", "replace")
        except OSError:  # it has just ended
            continue
        found[int(thread.name)] = int(text.partition("\nCapPrm:")[2].split()[0], 16)
    return found


def _prctl(option: int, argument: int) -> None:
    _call("prctl", _libc.prctl(option, argument, 0, 0, 0))


def _call(name: str, result: int) -> None:
    if result < 0:
        number = ct.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
