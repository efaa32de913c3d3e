"""Numbers for people: times and sizes with the unit that leaves three or four digits."""

from __future__ import annotations

_TIME_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_RATE_UNITS = ((10**9, "GB/s"), (10**6, "MB/s"), (10**3, "kB/s"), (1, "B/s"))
_SIZE_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def time_text(ns: float | None) -> str:
    """A time in nanoseconds: 43.9 ms; a dash for one that is not known."""
    return "-" if ns is None else f"-{time_text(-ns)}" if ns < 0 else _scaled(ns, _TIME_UNITS)


def size_text(size: float | None) -> str:
    """A size in bytes: 32.1 MiB; a dash for one that is not known."""
    return "-" if size is None else f"-{size_text(-size)}" if size < 0 else _scaled(size, _SIZE_UNITS)


def rate_text(bytes_per_s: float | None) -> str:
    """A rate in bytes per second, in the decimal units of networks: 117 MB/s; a dash for one that is not known."""
    return "-" if bytes_per_s is None else _scaled(bytes_per_s, _RATE_UNITS)


def _scaled(value: float, units: tuple[tuple[int, str], ...]) -> str:
    for factor, unit in units:
        if value >= factor:
            scaled = value / factor
            digits = 0 if factor == 1 else 2 if scaled < 10 else 1 if scaled < 100 else 0
            return f"{scaled:.{digits}f} {unit}"
    return f"0 {units[-1][1]}"
