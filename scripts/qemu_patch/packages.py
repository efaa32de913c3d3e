"""The distribution's packages that building QEMU takes: installed when something is to be built, and only then."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .commands import run, say
from .errors import MachineError

PACKAGES = (
    "dpkg-dev",  # dpkg-source
    "gcc",
    "libc6-dev",
    "libfdt-dev",
    "libglib2.0-dev",
    "libpixman-1-dev",
    "make",
    "meson",
    "ninja-build",
    "patch",  # dpkg-source calls it
    "pkg-config",
    "xz-utils",  # dpkg-source calls it
    "zlib1g-dev",
)


def missing() -> list[str]:
    """Those of PACKAGES that are not installed."""
    return [package for package in PACKAGES if not _is_installed(package)]


def install(log: Path) -> None:
    """Installs what is missing. MachineError if that takes root and we are not, or if apt fails."""
    wanted = missing()
    if not wanted:
        return
    if os.geteuid() != 0:
        raise MachineError(
            f"needs the packages: {' '.join(wanted)}",
            f"as root: apt-get install --no-install-recommends {' '.join(wanted)}",
        )
    say(f"installing {' '.join(wanted)}")
    run(["apt-get", "update"], log, MachineError)
    run(
        ["apt-get", "install", "-y", "--no-install-recommends", *wanted],
        log,
        MachineError,
        environment={"DEBIAN_FRONTEND": "noninteractive"},
    )


def _is_installed(package: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Abbrev}", package],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0 and done.stdout == "ii "
