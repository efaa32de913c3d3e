"""The machines whose code colotrace reads."""

from __future__ import annotations

from collections.abc import Mapping

from colotrace.binary.isa import Isa
from colotrace.binary.isa_aarch64 import Aarch64
from colotrace.binary.isa_x86 import X86

ISAS: Mapping[str, type[Isa]] = {"x86_64": X86, "aarch64": Aarch64}
"""By what Image.machine says."""
