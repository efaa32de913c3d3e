"""Makes the maps of a KernelObject and loads its program, by bpf(2).

The layouts are those of union bpf_attr in include/uapi/linux/bpf.h, Linux 6.6 on.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from colotrace.kernel.link import BPF_TRACE_UPROBE_MULTI, bpf
from colotrace.kernel.object import KernelObject, MapDefinition

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _PROG_LOAD = 0, 1, 2, 5
_PROG_TYPE_KPROBE = 2
_LOAD_TRIES = 5
"""As many as libbpf's."""
_LOG_BYTES = 1 << 16
"""Room for the end of what the verifier says; Linux 6.4 on leaves the beginning out if that is too little."""


class LoadError(Exception):
    """The kernel refuses a map or the program. `said` is the verifier's text."""

    def __init__(self, what: str, error: OSError, said: str = "") -> None:
        super().__init__(f"{what}: {error.strerror}, errno {error.errno}")
        self.said = said


class _MapCreate(ct.Structure):
    _fields_ = (
        ("kind", ct.c_uint32),
        ("key_size", ct.c_uint32),
        ("value_size", ct.c_uint32),
        ("entries", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("inner_map_fd", ct.c_uint32),
        ("numa_node", ct.c_uint32),
        ("name", ct.c_char * 16),
    )


class _Element(ct.Structure):
    _fields_ = (("map_fd", ct.c_uint32), ("key", ct.c_uint64), ("value", ct.c_uint64), ("flags", ct.c_uint64))


class _ProgramLoad(ct.Structure):
    _fields_ = (
        ("kind", ct.c_uint32),
        ("instructions", ct.c_uint32),
        ("code", ct.c_uint64),
        ("license", ct.c_uint64),
        ("log_level", ct.c_uint32),
        ("log_size", ct.c_uint32),
        ("log", ct.c_uint64),
        ("kernel_version", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("name", ct.c_char * 16),
        ("interface", ct.c_uint32),
        ("attach_type", ct.c_uint32),
        ("btf_fd", ct.c_uint32),
        ("function_info_size", ct.c_uint32),
        ("function_info", ct.c_uint64),
        ("function_infos", ct.c_uint32),
        ("line_info_size", ct.c_uint32),
        ("line_info", ct.c_uint64),
        ("line_infos", ct.c_uint32),
        ("attach_btf_id", ct.c_uint32),
        ("attach_fd", ct.c_uint32),
        ("relocations", ct.c_uint32),
        ("map_fds", ct.c_uint64),
    )


class Map:
    """A map in the kernel; it ends with its descriptor and the programs that use it."""

    def __init__(self, definition: MapDefinition) -> None:
        self.definition = definition
        attr = _MapCreate(
            kind=definition.kind,
            key_size=definition.key_size,
            value_size=definition.value_size,
            entries=definition.entries,
            flags=definition.flags,
            name=definition.name.encode(),
        )
        try:
            self.fd = bpf(_MAP_CREATE, attr)
        except OSError as error:
            raise LoadError(f"map {definition.name}", error) from error

    def read(self, key: int | bytes) -> bytes | None:
        """The value at a key, or None. Raises OSError."""
        value = ct.create_string_buffer(self.definition.value_size)
        try:
            self._call(_MAP_LOOKUP, key, value)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def write(self, key: int | bytes, value: bytes) -> None:
        """Sets the value at a key. Raises OSError."""
        if len(value) != self.definition.value_size:
            raise ValueError(f"a value of {len(value)} bytes for map {self.definition.name}")
        self._call(_MAP_UPDATE, key, ct.create_string_buffer(value, len(value)))

    def _call(self, command: int, key: int | bytes, value: ct.Array[ct.c_char]) -> None:
        raw = key if isinstance(key, bytes) else key.to_bytes(4, "little")
        if len(raw) != self.definition.key_size:
            raise ValueError(f"a key of {len(raw)} bytes for map {self.definition.name}")
        buffer = ct.create_string_buffer(raw, len(raw))
        bpf(command, _Element(map_fd=self.fd, key=ct.addressof(buffer), value=ct.addressof(value)))

    def memory_bytes(self) -> int:
        """The kernel memory that it takes, as the kernel states it."""
        info = Path(f"/proc/self/fdinfo/{self.fd}").read_text("ascii")
        return int(info.partition("memlock:")[2].split()[0])

    def close(self) -> None:
        """Lets go of it; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Loaded:
    """A KernelObject in the kernel: its maps by name, and its program's descriptor. Raises LoadError.

    `entries` gives maps another size than the one that they were compiled with.
    """

    def __init__(self, kernel_object: KernelObject, function: str, entries: Mapping[str, int]) -> None:
        self.maps: dict[str, Map] = {}
        self.fd = -1
        try:
            for one in kernel_object.maps:
                self.maps[one.name] = Map(replace(one, entries=entries.get(one.name, one.entries)))
            self.fd = _load(kernel_object, function, [one.fd for one in self.maps.values()])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes all of it; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        for one in self.maps.values():
            one.close()


def _load(kernel_object: KernelObject, function: str, map_fds: list[int]) -> int:
    code = ct.create_string_buffer(kernel_object.code, len(kernel_object.code))
    license_text = ct.create_string_buffer(kernel_object.license.encode())
    fds = (ct.c_int * len(map_fds))(*map_fds)
    attr = _ProgramLoad(
        kind=_PROG_TYPE_KPROBE,
        instructions=len(kernel_object.code) // 8,
        code=ct.addressof(code),
        license=ct.addressof(license_text),
        name=function.encode(),
        attach_type=BPF_TRACE_UPROBE_MULTI,
        map_fds=ct.addressof(fds),
    )
    left = _LOAD_TRIES
    while True:
        left -= 1
        try:
            return bpf(_PROG_LOAD, attr)
        except OSError as error:
            if error.errno != errno.EAGAIN or not left:  # EAGAIN: the verifier gives way to a signal
                raise LoadError(f"program {function}", error, _verdict(attr)) from error


def _verdict(attr: _ProgramLoad) -> str:
    """What the verifier says to a program that it will not have."""
    log = ct.create_string_buffer(_LOG_BYTES)
    attr.log_level, attr.log_size, attr.log = 1, _LOG_BYTES, ct.addressof(log)
    try:
        os.close(bpf(_PROG_LOAD, attr))
    except OSError:
        return log.value.decode("ascii", "replace")
    return ""
