"""Builds the patched QEMU, outside the repository, once for each source version, patch and variant.

    path = binary("faithful")

Below the cache's qemu-patched/KEY: `tree` (patched), `build`, `bin/VARIANT-HASH/qemu-system-x86_64` and `log`. The key
covers the source's version, the patch and the configuration. `tree` and `build` stay, for with them another variant is
one compilation and a relink.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import packages, source, tree, variants
from .commands import run, say
from .errors import BuildError

NAME = "qemu-system-x86_64"
CONFIGURE = (
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--enable-kvm",
    "--enable-replication",
    "--disable-tcg",  # with TCG, 7.2 deadlocks at the first checkpoint
    "--disable-debug-info",
    "--disable-install-blobs",
    "--with-git-submodules=ignore",
    "--firmwarepath=/usr/share/qemu:/usr/share/seabios",  # the installed QEMU's
)
PATCH_FILES = ("csource.py", "hooks.py", "insertion.py", "qapi.py", "tree.py", tree.SCHEMA_ADDITION, *tree.RECORDER)
NOT_NEEDED = ("roms",)
"""Parts of the source, the sources of firmware, that no build of ours reads."""
NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\]")
SAY_EVERY_S = 20.0


@dataclass(frozen=True)
class Place:
    """Where one patched source and everything built from it lives."""

    path: Path

    @property
    def tree(self) -> Path:
        """The patched source; there only if it is whole."""
        return self.path / "tree"

    @property
    def build(self) -> Path:
        """The build directory."""
        return self.path / "build"

    @property
    def configured(self) -> Path:
        """There once `build` is configured."""
        return self.build / ".configured"

    @property
    def log(self) -> Path:
        """What the commands printed."""
        return self.path / "log"

    def binary(self, variant: str) -> Path:
        """A variant's QEMU; there only if it is whole. UnknownVariantError if there is no such variant."""
        digest = hashlib.sha256(variants.header(variant).encode()).hexdigest()[:8]
        return self.path / "bin" / f"{variant}-{digest}" / NAME


def binary(variant: str) -> Path:
    """The absolute path of a variant's QEMU, built if it is not there yet.

    The first build installs packages (root) and takes some minutes; another variant of it takes seconds. Two at once
    wait for one another. Raises PatchError.
    """
    variants.defects(variant)
    version = source.version()
    place = Place(cache() / "qemu-patched" / key(version))
    path = place.binary(variant)
    if not path.exists():
        place.path.mkdir(parents=True, exist_ok=True)
        with _locked(place.path / "lock"):
            if not path.exists():
                _make(place, version, variant)
    return path


def cache() -> Path:
    """The directory for what the scripts keep, as scripts/env.sh sets it."""
    chosen = os.environ.get("COLOTRACE_CACHE")
    return Path(chosen).absolute() if chosen else Path.home() / ".cache" / "colotrace"


def key(version: str) -> str:
    """Tells builds apart whose source, patch or configuration differ."""
    digest = hashlib.sha256(repr((version, CONFIGURE)).encode())
    for name in PATCH_FILES:
        digest.update((tree.HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def _make(place: Place, version: str, variant: str) -> None:
    packages.install(place.log)
    if not place.tree.exists():
        _prepare(place, version)
    header = place.tree / tree.VARIANT_HEADER
    text = variants.header(variant)
    if not header.exists() or header.read_text() != text:
        header.write_text(text)
    if not place.configured.exists():
        _configure(place)
    say(f"building {variant}")
    began = time.monotonic()
    run(["ninja", NAME], place.log, BuildError, cwd=place.build, watch=_Progress())
    path = place.binary(variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    shutil.copy(place.build / NAME, part)
    part.rename(path)
    say(f"built {variant} in {time.monotonic() - began:.0f} s")


def _prepare(place: Place, version: str) -> None:
    """Makes the patched tree: whole or, if anything fails, not at all."""
    for left in place.path.glob("unpack-*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=place.path, prefix="unpack-") as scratch:
        say(f"fetching the source of QEMU {version}")
        fresh = source.unpack(version, Path(scratch), place.log)
        for name in NOT_NEEDED:
            shutil.rmtree(fresh / name, ignore_errors=True)
        say("patching it")
        tree.patch(fresh)
        fresh.rename(place.tree)


def _configure(place: Place) -> None:
    say("configuring; the first build takes some minutes")
    shutil.rmtree(place.build, ignore_errors=True)
    place.build.mkdir()
    run([str(place.tree / "configure"), *CONFIGURE], place.log, BuildError, cwd=place.build)
    place.configured.touch()


class _Progress:
    """Says now and then how far ninja is."""

    def __init__(self) -> None:
        self._next = time.monotonic() + SAY_EVERY_S

    def __call__(self, line: str) -> None:
        step = NINJA_STEP.match(line)
        if step is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + SAY_EVERY_S
            say(f"step {step[1]} of {step[2]}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
