"""Brings two QEMUs into COLO.

    with ColoPair(Settings(dirty_mib=8)) as pair:
        print(pair.primary.pid, pair.secondary.qmp_path, pair.sweep_ms)

Leaving the block leaves nothing behind: no process, socket, directory or mount.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from . import firmware
from .errors import NoColoError, NotInColoError, VmError
from .firmware import SWEEP_WORD_ADDRESS
from .monitor import LoopThread
from .net import Network
from .rundir import RunDirectory
from .settings import Settings
from .sweep import sweep_ms
from .vm import POLL_S, Vm

MAX_BANDWIDTH_BYTES_PER_S = 1 << 40  # no limit in practice
DOWNTIME_LIMIT_MS = 60_000  # what a busy guest dirties meanwhile always fits: the first pass ends in COLO
RETURN_PATH_SINCE = 11  # QEMU's major version from which x-colo asks for return-path as well
RESUMES_TO_FIRST_CHECKPOINT = 2  # one on entering COLO, then one after each checkpoint
SWEEPS_FOR_ALL = 2  # it stops in mid-range: a whole sweep in between begins and ends there
SWEEP_TRIES = 3
ROOMY_SWEEPS = 10  # a delay this many sweeps long is long enough, whatever COLO adds
LOOK_S = 0.1


class ColoPair:
    """Two QEMUs and, unless `start_colo=False`, COLO between them with at least one checkpoint done.

    `say` gets progress lines; `check` is called where the bring-up waits, and may raise to break it off. Without
    `start_colo` both VMs run, ready for `start_colo()` later: the way to have a tracer armed before COLO begins. Raises
    LabError; nothing is left behind then either. Start it from the thread that will outlive it: the kernel kills the
    QEMUs when the thread that started them ends.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        start_colo: bool = True,
        say: Callable[[str], None] = lambda line: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        if settings.chroot is not None:
            real = Path(os.path.realpath(settings.chroot))
            settings = dataclasses.replace(settings, chroot=None if real == Path("/") else real)
        self.settings = settings
        self.primary: Vm
        self.secondary: Vm
        self.run: RunDirectory
        self.sweep_ms = 0.0
        """How long the guest takes to overwrite its range once, in milliseconds; 0.0 for an idle guest."""
        self._start_colo_at_once = start_colo
        self._say = say
        self._check = check
        self.network: Network | None = None
        """What the lab sends between the VMs and the outside; None without `settings.net`."""
        self._loop: LoopThread | None = None
        self._vms: list[Vm] = []
        self._next_look = 0.0
        self._generation = 1

    def __enter__(self) -> ColoPair:
        try:
            self.start()
            if self._start_colo_at_once:
                self.start_colo()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts both QEMUs, sets COLO up on them and measures the guest's sweep; `close` is due also if it raises."""
        settings = self.settings
        settings.check()
        image = firmware.build(settings.dirty_mib, settings.self_check, settings.adjustable)
        self.run = RunDirectory()
        self._guest = Path(shutil.copy(image, self.run / "firmware.bin"))  # a chroot sees this one, not the cache
        self._loop = LoopThread(self._check)
        for role in ("primary", "secondary"):
            vm = Vm(role, settings, self.run, self._guest, self._loop)
            self._vms.append(vm)
            setattr(self, role, vm)
            if settings.net and role == "primary":  # the secondary connects to its sockets
                vm.connect(time.monotonic() + settings.ready_timeout_s, self._check)
        until = time.monotonic() + settings.ready_timeout_s
        for vm in self._vms[1:] if settings.net else self._vms:
            vm.connect(until, self._check)
        for vm in self._vms:
            self._enable_colo(vm)
        if self.primary.net and self.secondary.net:
            self.network = Network(self.primary.net, self.secondary.net)
        version = ".".join(map(str, self.primary.version))
        self._say(f"QEMU {version}: primary is pid {self.primary.pid}, secondary is pid {self.secondary.pid}")
        if settings.dirty_mib:
            self.sweep_ms = sweep_ms(self.primary, time.monotonic() + settings.ready_timeout_s, self._check)
            self._say(f"one sweep over {settings.dirty_mib} MiB takes {self.sweep_ms:.1f} ms")
            if settings.delay_ms < self.sweep_ms:
                self._say(
                    f"warning: the checkpoint delay of {settings.delay_ms} ms is shorter than a sweep: "
                    f"a checkpoint sends only a part of the {settings.dirty_mib} MiB"
                )

    def start_colo(self) -> None:
        """Starts the migration and returns after the first checkpoint. Raises VmError or NotInColoError."""
        began = time.monotonic()
        until = began + self.settings.ready_timeout_s
        resumes = self.primary.monitor.count("RESUME")
        try:
            address = self.listen()
            self.primary.execute("migrate", uri=address)
        except VmError as error:
            raise self._failure("did not reach COLO", error) from error
        self._wait(lambda: self._in_colo(resumes), until, "did not reach COLO")
        # The first checkpoint comes a whole delay after COLO begins.
        until += self.settings.delay_ms / 1000
        first = resumes + RESUMES_TO_FIRST_CHECKPOINT
        self._wait_resumes(first, until)
        self._say(f"in COLO after {time.monotonic() - began:.2f} s, first checkpoint included; {address}")
        if self.settings.delay_ms < ROOMY_SWEEPS * self.sweep_ms:
            self._check_sweep_fits(first, until + self.settings.delay_ms / 1000)

    def pair_anew(self, survivor: Vm) -> None:
        """After a failover: a new secondary for the VM that runs on alone, and COLO with it.

        Returns after the first checkpoint of the new pair; raises as start_colo() does.
        """
        self.new_secondary(survivor)
        survivor.monitor.forget("COLO_EXIT")
        self.start_colo()

    def new_secondary(self, survivor: Vm) -> Vm:
        """A new QEMU that waits for the survivor's state, made ready for COLO. The old peer ends, if it has not yet."""
        assert self._loop is not None
        for vm in [vm for vm in self._vms if vm is not survivor]:
            vm.close()
            self._vms.remove(vm)
        self._generation += 1
        name = f"secondary-{self._generation}"
        self.primary, self.secondary = survivor, Vm("secondary", self.settings, self.run, self._guest, self._loop, name)
        self._vms.append(self.secondary)
        self.secondary.connect(time.monotonic() + self.settings.ready_timeout_s, self._check)
        for vm in self._vms:
            self._enable_colo(vm)
        return self.secondary

    @property
    def vms(self) -> tuple[Vm, ...]:
        """The VMs that have been started and not been closed."""
        return tuple(self._vms)

    def trouble(self) -> list[str]:
        """What went wrong with a pair that was in COLO: dead VMs, COLO ended. Empty if all is well."""
        lines = []
        for vm in self._vms:
            how = vm.death()
            ended = vm.monitor.last("COLO_EXIT")
            if how is not None:
                lines.append(f"the {vm.role} QEMU (pid {vm.pid}) ended with {how}{vm.quote()}")
            elif ended is not None:
                lines.append(f"COLO ended on the {vm.role}, reason: {ended.get('reason', 'unknown')}")
        return lines

    def close(self) -> None:
        """Ends both QEMUs and removes the run directory; a second call does nothing."""
        for vm in self._vms:
            vm.kill()  # both before waiting for either, so that neither takes over from the other
        for vm in self._vms:
            vm.close()
        self._vms.clear()
        if self._loop is not None:
            self._loop.close()
            self._loop = None
        if hasattr(self, "run"):
            self.run.close()

    def _enable_colo(self, vm: Vm) -> None:
        wanted = ["x-colo"] + (["return-path"] if vm.version[0] >= RETURN_PATH_SINCE else [])
        capabilities = [{"capability": name, "state": True} for name in wanted]
        try:
            vm.execute("migrate-set-capabilities", capabilities=capabilities)
        except VmError as error:
            vm.must_live("while COLO was set up")
            raise NoColoError(
                f"this QEMU cannot do COLO: {error}",
                "COLO needs a QEMU built with the replication module (configure --enable-replication)",
            ) from error
        vm.execute(
            "migrate-set-parameters",
            x_checkpoint_delay=self.settings.delay_ms,
            max_bandwidth=MAX_BANDWIDTH_BYTES_PER_S,
            downtime_limit=DOWNTIME_LIMIT_MS,
        )

    def listen(self) -> str:
        """Lets the secondary listen; the URI for the primary. QEMU picks a TCP port: no two labs can collide."""
        if self.settings.transport == "unix":
            address = f"unix:{self.run / self.secondary.name}.migration"
            self.secondary.execute("migrate-incoming", uri=address)
            return address
        host = "[::1]" if self.settings.transport == "tcp6" else "127.0.0.1"
        self.secondary.execute("migrate-incoming", uri=f"tcp:{host}:0")
        for listening in self.secondary.execute("query-migrate").get("socket-address", []):
            if listening.get("type") == "inet":
                return f"tcp:{host}:{listening['port']}"
        raise VmError(f"the secondary does not tell its migration port{self.secondary.quote()}")

    def _in_colo(self, resumes: int) -> bool:
        """Whether COLO began, given the count of RESUME events before. Leaves the QEMUs alone meanwhile: a command
        takes QEMU's big lock, and a tracer may be timing COLO's init."""
        if self.primary.monitor.count("RESUME") > resumes:
            modes = [vm.execute("query-colo-status").get("mode") for vm in (self.primary, self.secondary)]
            if modes == ["primary", "secondary"]:
                return True
        elif time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + LOOK_S
        status = self.primary.execute("query-migrate").get("status")
        if status in ("failed", "cancelled", "completed"):
            raise NotInColoError(self._explain(f"did not reach COLO: the migration {status}"))
        return False

    def _check_sweep_fits(self, resumes: int, until: float) -> None:
        """Warns if the guest does not get through its range between checkpoints; `resumes` of them are behind it.

        In COLO the guest stands still during a checkpoint, and after it the first write to every page faults. The first
        checkpoint may take so long that the next one follows at once, hence several tries.
        """
        begin = self.primary.word_at(SWEEP_WORD_ADDRESS)
        for attempt in range(SWEEP_TRIES):
            self._wait_resumes(resumes + 1 + attempt, until + attempt * self.settings.delay_ms / 1000)
            end = self.primary.word_at(SWEEP_WORD_ADDRESS)
            if end - begin >= SWEEPS_FOR_ALL:
                return
            begin = end
        self._say(
            f"warning: between two checkpoints the guest may not get through its {self.settings.dirty_mib} MiB, "
            "so that a checkpoint sends only a part; a longer --delay-ms helps"
        )

    def _wait_resumes(self, count: int, until: float) -> None:
        monitor = self.primary.monitor
        self._wait(lambda: monitor.count("RESUME") >= count, until, "reached COLO but made no checkpoint")

    def _wait(self, reached: Callable[[], bool], until: float, failure: str) -> None:
        while True:
            self._check()
            try:
                for vm in self._vms:
                    vm.must_live("while COLO was starting")
                if reached():
                    return
            except NotInColoError:
                raise
            except VmError as error:
                raise self._failure(failure, error) from error
            if time.monotonic() > until:
                raise NotInColoError(
                    self._explain(f"{failure} within {self.settings.ready_timeout_s:g} s"),
                    "on a slow machine try a longer --ready-timeout; some QEMU releases cannot do COLO (10.0.2, 10.1)",
                )
            time.sleep(POLL_S)

    def _failure(self, failure: str, error: VmError) -> NotInColoError:
        return NotInColoError(self._explain(f"{failure}: {str(error).splitlines()[0]}"))

    def _explain(self, reason: str) -> str:
        """The reason, then what each QEMU says about itself, in its own words."""
        lines = [f"the pair {reason}"]
        for vm in self._vms:
            lines.append(f"  {vm.role} (pid {vm.pid}): {vm.state()}{vm.quote()}")
        return "\n".join(lines)
