"""Where the checks of a host look: its kernel's release and build options, /proc, /sys and /boot."""

from __future__ import annotations

import functools
import gzip
import io
import os
import re
import zlib
from pathlib import Path

INITIAL_NAMESPACES = {"pid": 4026531836, "user": 4026531837}
"""PROC_PID_INIT_INO and PROC_USER_INIT_INO, include/linux/proc_ns.h."""
_CAPABILITIES = {"CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_MOST_CONFIG_BYTES = 4 << 20
_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$", re.MULTILINE)


class Host:
    """This host, or the saved files of another one below `root`, as root sees it. Files are read when asked for."""

    def __init__(self, root: str | Path = "/", release: str | None = None) -> None:
        self._root = Path(root)
        self.release = release or os.uname().release

    def data(self, path: str) -> bytes:
        """A file's bytes. Raises OSError."""
        return (self._root / path).read_bytes()

    def text(self, path: str) -> str:
        """A file's text. Raises OSError."""
        return self.data(path).decode("utf-8", "replace")

    def has(self, path: str) -> bool:
        """Whether there is such a file or directory, and it may be looked at."""
        return (self._root / path).exists()

    def capabilities(self) -> set[str]:
        """This process's effective ones, of those that matter here."""
        return capabilities(self.text("proc/self/status"))

    def is_initial(self, kind: str) -> bool:
        """Whether this process is in the host's own namespace of a kind. Raises OSError."""
        return os.readlink(self._root / "proc/self/ns" / kind) == f"{kind}:[{INITIAL_NAMESPACES[kind]}]"

    @functools.cached_property
    def options(self) -> dict[str, str] | None:
        """The kernel's build options that are set; None if no file tells them."""
        for path in ("proc/config.gz", f"boot/config-{self.release}"):
            try:
                data = self.data(path)
                if path.endswith(".gz"):
                    with gzip.open(io.BytesIO(data)) as file:
                        data = file.read(_MOST_CONFIG_BYTES)
            except (OSError, EOFError, zlib.error):
                continue
            return dict(_OPTION.findall(data.decode("ascii", "replace")))
        return None


def capabilities(status_text: str) -> set[str]:
    """Those effective capabilities, of the ones that matter here, in the text of a /proc/PID/status."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)\s*$", status_text, re.MULTILINE)
    mask = int(found[1], 16) if found else 0
    return {name for name, bit in _CAPABILITIES.items() if mask >> bit & 1}


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of a kernel release such as 6.1.0-18-amd64; (0, 0) if it cannot be read."""
    found = re.match(r"(\d{1,9})(?:\.(\d{1,9}))?", release)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
