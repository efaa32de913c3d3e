"""An empty BPF program on the call sites that colotrace would probe: the least that these probes can cost.

floor.py PID; ends on SIGINT or SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys

from colotrace.kernel.compiler import bpf_directory, import_bcc
from colotrace.kernel.link import BPF_TRACE_UPROBE_MULTI, UprobeMultiLink
from colotrace.resolve.resolver import resolve


def main() -> None:
    """Arms, and waits for a signal."""
    pid = int(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_directory() / "headers")
    bpf_class = import_bcc()
    program = bpf_class(text=b"int nothing(void *context) { return 0; }")
    function = program.load_func(b"nothing", bpf_class.KPROBE, attach_type=BPF_TRACE_UPROBE_MULTI)
    path = f"/proc/{pid}/exe"
    offsets = [probe.file_offset for probe in resolve(path).probes]
    link = UprobeMultiLink(function.fd, path, pid, offsets, [0] * len(offsets))
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    link.close()


main()
