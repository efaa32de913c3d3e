"""Debug files from the network, by build-id, from the servers in $DEBUGINFOD_URLS; only where a user asks for it.

The protocol is elfutils' (debuginfod(8), "WEBAPI"): GET URL/buildid/BUILDID/debuginfo. Whatever comes back is held
against the binary like any other debug file (colotrace.binary.debugfiles), and kept in colotrace's own cache.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import IO, cast

from colotrace.binary.image import Image
from colotrace.cachedir import cache_directory, cache_root, has_file, new_file
from colotrace.errors import BinaryError, EnvironmentFault
from colotrace.text import printable

TIMEOUT_S = 90.0
"""Of the whole download from one server; $DEBUGINFOD_TIMEOUT overrides it."""
MOST_BYTES = 1 << 30
"""$DEBUGINFOD_MAXSIZE overrides it."""
_BUILD_ID = re.compile(r"[0-9a-f]{8,128}")
_CHUNK = 1 << 18
_SILENCE_S = 30.0


class _Opener(urllib.request.OpenerDirector):
    """HTTP and HTTPS, redirections among them included; no files, no FTP, whatever a server says."""

    def __init__(self) -> None:
        super().__init__()
        request = urllib.request
        for handler in (
            request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler,
            request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor, request.UnknownHandler,
        ):  # fmt: skip
            self.add_handler(handler())


def fetch(build_id: str) -> str:
    """The path of the debug file of a build-id, brought from the first server that has it, or kept from last time.

    Raises EnvironmentFault if no server is named or the cache cannot be written, BinaryError if none has it.
    """
    if not _BUILD_ID.fullmatch(build_id):
        raise BinaryError(f"a build-id of {len(build_id) // 2} bytes cannot be asked for", "Use --debug-file.")
    urls = os.environ.get("DEBUGINFOD_URLS", "").split()
    if not urls:
        raise EnvironmentFault(
            "--debuginfod asks the servers in $DEBUGINFOD_URLS, and it is empty", "Set it, or use --debug-file FILE."
        )
    name = f"{build_id}.debug"
    with cache_directory("debuginfod") as directory:
        if directory is None:
            raise EnvironmentFault(
                "what debuginfod brings is kept in $XDG_CACHE_HOME/colotrace, which is not a directory of ours alone",
                "Set XDG_CACHE_HOME to one that is.",
            )
        path = f"{cache_root()}/colotrace/debuginfod/{name}"
        if has_file(directory, name):
            return path
        reasons = []
        for url in urls:
            try:
                with new_file(directory, name) as file, os.fdopen(os.dup(file), "wb") as out:
                    for chunk in _download(f"{url.rstrip('/')}/buildid/{build_id}/debuginfo"):
                        out.write(chunk)
                    out.flush()
                    _check(file, build_id)
                return path
            except (OSError, http.client.HTTPException, ValueError, BinaryError) as error:
                reasons.append(f"{url}: {error}")
    raise BinaryError(
        f"no debuginfod server has the debug symbols of build-id {build_id}: {printable('; '.join(reasons))}",
        "Check DEBUGINFOD_URLS, or use --debug-file FILE.",
    )


def _download(url: str) -> Iterator[bytes]:
    """The bytes behind a URL, within the bounds of size and time. Raises OSError, HTTPException or ValueError."""
    most, seconds = _setting("DEBUGINFOD_MAXSIZE", MOST_BYTES), _setting("DEBUGINFOD_TIMEOUT", TIMEOUT_S)
    deadline = time.monotonic() + seconds
    with cast(IO[bytes], _Opener().open(url, timeout=min(seconds, _SILENCE_S))) as answer:
        while chunk := answer.read(_CHUNK):
            most -= len(chunk)
            if most < 0:
                raise ValueError("it sends more than the most that is taken (DEBUGINFOD_MAXSIZE)")
            if time.monotonic() > deadline:
                raise ValueError("it takes too long (DEBUGINFOD_TIMEOUT)")
            yield chunk


def _setting(name: str, default: float) -> float:
    """A positive number from the environment; 0 and what is none mean the default, as for debuginfod's own client."""
    try:
        value = float(os.environ.get(name, ""))
    except ValueError:
        return default
    return value if 0 < value < float("inf") else default


def _check(file: int, build_id: str) -> None:
    """Refuses what a server sent if it is not what it was asked for."""
    with Image(f"/proc/self/fd/{file}", "its answer", debug=True) as image:
        if image.build_id != build_id:
            raise ValueError(f"its answer has the build-id {image.build_id or 'of nothing'}")
