"""One QEMU process: its command line, its log, its death, and the lab's QMP connection to it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .confine import enter
from .errors import VmError
from .monitor import LoopThread, Monitor, MonitorError, Refused
from .net import NetEnds, options
from .rundir import RunDirectory
from .settings import Settings

POLL_S = 0.002
LAST_WORDS_LINES = 20


class Vm:
    """A started QEMU. `role` is "primary" or "secondary", as it was started; `pid` is QEMU's own, `qmp_path` a socket
    nobody else uses. `name` tells it from other VMs of the lab."""

    def __init__(
        self,
        role: str,
        settings: Settings,
        run: RunDirectory,
        firmware: Path,
        loop: LoopThread,
        name: str = "",
    ) -> None:
        self.role = role
        self.name = name = name or role
        self.qmp_path = run / f"{name}.qmp"
        self.log_path = run / f"{name}.log"
        self.monitor = Monitor(loop, f"lab-{name}")
        self.version: tuple[int, int, int] = (0, 0, 0)
        self._lab_socket = run / f"{name}-lab.qmp"
        self.net = NetEnds() if settings.net else None
        """The lab's ends of its network, if it has one."""
        command = [
            settings.qemu_path(),
            *("-name", f"colo-{name}"),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-M", "pc", "-accel", "kvm", "-smp", str(settings.vcpus), "-m", f"{settings.memory_mib}M"),
            *("-bios", str(firmware)),
            *("-qmp", f"unix:{self._lab_socket},server=on,wait=off"),
            *("-qmp", f"unix:{self.qmp_path},server=on,wait=off"),
            *(("-incoming", "defer") if role == "secondary" else ()),
            *(options(role, run, self.net) if self.net else ()),
            *settings.qemu_options,
        ]
        try:
            with open(self.log_path, "wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env={**os.environ, "LC_ALL": "C"},
                    start_new_session=True,  # Ctrl-C is for COMMAND: the pair lives until COMMAND has ended
                    preexec_fn=enter(settings.chroot, run.path),
                    pass_fds=self.net.fds if self.net else (),
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise VmError(f"cannot start {command[0]}: {error}{self.quote()}") from error
        self.pid = self._process.pid
        if self.net:
            self.net.handed_down()

    def connect(self, deadline: float, check: Callable[[], None]) -> None:
        """Waits for QMP, until `deadline` (time.monotonic()), and asks for the version. Raises VmError."""
        while True:
            check()
            self.must_live("before its QMP socket answered")
            try:
                self.monitor.connect(str(self._lab_socket), max(0.1, deadline - time.monotonic()))
                break
            except MonitorError as error:
                if time.monotonic() > deadline:
                    raise VmError(f"the {self.role}'s QMP socket does not answer: {error}{self.quote()}") from error
            time.sleep(POLL_S)
        version = self.execute("query-version")["qemu"]
        self.version = (version["major"], version["minor"], version["micro"])

    def execute(self, command: str, **arguments: object) -> Any:
        """A QMP command's answer; the keywords are its arguments, with _ for -.

        Raises VmError with QEMU's description, or with its last words if it died.
        """
        named: dict[str, object] = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return self.monitor.execute(command, named)
        except Refused as error:
            raise VmError(f"the {self.role} refuses {command}: {error}{self.quote()}") from error
        except MonitorError as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)  # the socket closes a moment before the process is gone
            self.must_live(f"during {command}")
            raise VmError(f"the {self.role} does not answer {command}: {error}{self.quote()}") from error

    def word_at(self, address: int) -> int:
        """The 32-bit word at a guest physical address, read while the guest runs."""
        text = str(self.execute("human-monitor-command", command_line=f"xp /1wx {address:#x}"))
        found = re.search(r":\s*0x([0-9a-fA-F]{1,8})\b", text)
        if found is None:
            raise VmError(f"the {self.role} cannot read guest memory at {address:#x}: {text.strip()}")
        return int(found[1], 16)

    def death(self) -> str | None:
        """How the process ended ("exit code 1", "signal 9"); None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def must_live(self, when: str) -> None:
        """Raises VmError with QEMU's last words if it has ended."""
        how = self.death()
        if how is not None:
            raise VmError(f"the {self.role} QEMU (pid {self.pid}) ended with {how} {when}{self.quote()}")

    def state(self) -> str:
        """What QMP says of its run state, migration and COLO mode, in one line; or how the process ended."""
        how = self.death()
        if how is not None:
            return f"ended with {how}"
        try:
            migration = self.monitor.execute("query-migrate")
            running = self.monitor.execute("query-status").get("status")
            mode = self.monitor.execute("query-colo-status").get("mode")
        except MonitorError as error:
            return f"QMP: {error}"
        state = f"VM {running}, migration {migration.get('status', 'none')}, COLO mode {mode}"
        return f"{state}, error: {migration['error-desc']}" if "error-desc" in migration else state

    def last_words(self) -> list[str]:
        """The last lines that QEMU wrote to stdout or stderr."""
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-LAST_WORDS_LINES:]

    def quote(self) -> str:
        """QEMU's last words as indented lines to end a message with; says so if there are none."""
        lines = self.last_words() or ["(it wrote nothing)"]
        return "".join(f"\n  {self.role} QEMU: {line}" for line in lines)

    def kill(self) -> None:
        """SIGKILL: there is nothing to save, and a QEMU in COLO may take long over a polite shutdown."""
        self._process.kill()

    def close(self) -> None:
        """Kills it and waits until it is gone."""
        self._process.kill()
        self._process.wait()
        self.monitor.close()
        if self.net:
            self.net.close()
