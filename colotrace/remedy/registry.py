"""The remedies by name, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """`parameter` is the migration parameter that it sets over QMP; None: TCP_NODELAY of the stream's socket."""

    name: str
    what: str
    parameter: str | None = None
    unit: str = ""


REMEDIES = {
    remedy.name: remedy
    for remedy in (
        Remedy("nodelay", "sets TCP_NODELAY on the migration stream's socket"),
        Remedy("bandwidth", "sets max-bandwidth", "max-bandwidth", "bytes/s"),
        Remedy("delay", "sets x-checkpoint-delay", "x-checkpoint-delay", "ms"),
    )
}
