"""The source of the QEMU that is installed, from the distribution's archive and checked with its keys.

apt is given a list of sources, an index directory and a cache of our own: the system's configuration stays as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .commands import answer, run
from .errors import MachineError, SourceError

PACKAGE = "qemu-system-x86"
SOURCE = "qemu"
UPSTREAM = "7.2"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TARGET_LINE = f"deb-src [signed-by={KEYRING}] $(REPO_URI) $(RELEASE) $(COMPONENT)"
DEBIAN_ARCHIVE = re.compile(r"\] \S+/debian(-security)?/? ")
"""Fits the lines for Debian's own archives, whatever the mirror: others may have no sources, or other ones."""


def version() -> str:
    """The installed QEMU's source version. MachineError if there is none or it is not 7.2."""
    remedy = f"on Debian 12: apt-get install {PACKAGE}"
    found = answer(["dpkg-query", "-W", "-f=${source:Version}", PACKAGE], MachineError, remedy=remedy)
    if not is_supported(found):
        raise MachineError(f"the installed {PACKAGE} is {found or 'gone'}; the patch is for QEMU {UPSTREAM}", remedy)
    return found


def is_supported(source_version: str) -> bool:
    """Whether a Debian source version is one of QEMU 7.2."""
    return re.match(rf"(\d+:)?{re.escape(UPSTREAM)}(?![0-9])", source_version) is not None


def source_lines(targets: str) -> list[str]:
    """The deb-src lines of Debian's own archives among apt's index targets, each once."""
    return list(dict.fromkeys(line for line in targets.splitlines() if DEBIAN_ARCHIVE.search(line)))


def unpack(source_version: str, scratch: Path, log: Path) -> Path:
    """Downloads a version's source package into `scratch` and unpacks it there; the tree. SourceError if it cannot."""
    options = _private_apt(scratch)
    run(["apt-get", *options, "update"], log, SourceError)
    run(
        ["apt-get", *options, "source", "--download-only", f"{SOURCE}={source_version}"],
        log,
        SourceError,
        cwd=scratch,
        remedy=f"the archive keeps the newest versions only: apt-get install --only-upgrade {PACKAGE}",
    )
    descriptions = list(scratch.glob("*.dsc"))
    if len(descriptions) != 1:
        raise SourceError(f"{len(descriptions)} source descriptions came for {SOURCE} {source_version}, expected 1")
    tree = scratch / "tree"
    run(["dpkg-source", "-x", str(descriptions[0]), str(tree)], log, SourceError)
    return tree


def _private_apt(scratch: Path) -> list[str]:
    """apt's options for sources, indexes and caches below `scratch`."""
    targets = answer(
        ["apt-get", "indextargets", "--no-release-info", "--format", TARGET_LINE, "Created-By: Packages"], SourceError
    )
    lines = source_lines(targets)
    if not lines:
        raise SourceError("apt knows no archive of Debian's own", "see /etc/apt/sources.list.d, and run apt-get update")
    sources = scratch / "sources.list"
    sources.write_text("".join(f"{line}\n" for line in lines))
    for directory in ("lists/partial", "cache/archives/partial"):
        (scratch / directory).mkdir(parents=True)
    values = {
        "Dir::Etc::SourceList": str(sources),
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": str(scratch / "lists"),
        "Dir::Cache": str(scratch / "cache"),
        **({"APT::Sandbox::User": "root"} if os.geteuid() == 0 else {}),  # _apt cannot write below a private cache
    }
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
