"""The variants of the patched QEMU: each is a name and the set of defects that its accounting has."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType

from .errors import UnknownVariantError


class Defect(Enum):
    """One mistake in the accounting: `variant` is the name of the variant that has this one alone."""

    RECV_IN_PUT = ("recv-in-put", "the primary's recv is added to put_time; its recv_time stays 0")
    INIT_NEGATED = ("init-negated", "init_time is begin minus end")
    STAT_NEGATED = ("stat-negated", "the secondary's stat_time is begin minus end")
    RESET_EIGHT = ("reset-eight", "reset_checkpoint clears the first eight figures only; those from put_time on stay")
    UNGUARDED_DIVISION = ("unguarded-division", "info_checkpoint before the first checkpoint ends QEMU with SIGFPE")
    NO_RAM_SIZE = ("no-ram-size", "ram_size is never filled in")
    ADD_AT_ONCE = ("add-at-once", "a phase is added when it ends; checkpoints that fail count as well")
    MICROSECONDS = ("micro", "all times are in microseconds")

    def __init__(self, variant: str, summary: str) -> None:
        self.variant = variant
        self.summary = summary

    @property
    def macro(self) -> str:
        """The name under which checkpoint_recorder.c knows it."""
        return f"CR_DEFECT_{self.name}"


CORRECT = "correct"
FAITHFUL = "faithful"
VARIANTS = MappingProxyType(
    {
        CORRECT: frozenset[Defect](),
        FAITHFUL: frozenset(Defect) - {Defect.MICROSECONDS},
        **{defect.variant: frozenset({defect}) for defect in Defect},
    }
)
"""Name -> defects. `faithful` is the original text, mistakes included; the rest have one defect each."""


def defects(variant: str) -> frozenset[Defect]:
    """A variant's defects; UnknownVariantError if there is none of that name."""
    try:
        return VARIANTS[variant]
    except KeyError:
        raise UnknownVariantError(f"unknown variant {variant!r}", f"one of: {', '.join(VARIANTS)}") from None


def header(variant: str) -> str:
    """The text of checkpoint_recorder_variant.h: every defect's macro, 1 if the variant has it, else 0."""
    has = defects(variant)
    lines = [f"#define {defect.macro} {int(defect in has)}" for defect in Defect]
    return "\n".join(["/* Generated: the defects of one variant. */", *lines, ""])
