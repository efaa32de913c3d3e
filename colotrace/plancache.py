"""Plans kept from run to run, so that attaching to the same binary again does not resolve it again.

A kept plan is used only for a file of the same build-id, size and SHA-256 (all of the file, which costs less than to
say which parts of it a plan depends on), if the same resolver made it, and if every one of its probes is held against
the file's bytes again; arming holds them against the process's memory as always. Plans that depend on more than the
binary (debug files) are not kept. What is kept is JSON of a schema, never code; where anything is wrong with it, it is
not used.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
from pathlib import Path

from colotrace.binary.debugfiles import candidates
from colotrace.binary.image import Image
from colotrace.cachedir import keep, kept
from colotrace.phases import BOUNDARIES, PROCESS_BOUNDARIES, ROLE_PHASES, Role
from colotrace.plain import from_plain, to_plain
from colotrace.resolve.nameoptions import ONLY_THIS_HOST, NameOptions
from colotrace.resolve.plan import ProbePlan

SCHEMA = 2
_MOST_BYTES = 1 << 20
_MOST_PLANS = 64
_HERE = Path(__file__).resolve().parent


def plan_for(path: str, name: str, options: NameOptions = ONLY_THIS_HOST) -> ProbePlan:
    """As colotrace.resolve.resolver.resolve(), but kept plans count. `name` is the binary's path for people."""
    with Image(path, name) as image:
        facts = None if _needs_more(image, options) else _facts(image)
        plan = _kept(image, facts) if facts else None
        if plan is None:
            from colotrace.resolve.resolver import resolve_image  # decoding takes as long to import as to use

            plan = resolve_image(image, options)
            if facts:
                _keep(facts, plan)
    return plan


def _needs_more(image: Image, options: NameOptions) -> bool:
    """Whether the plan depends on other files, or might."""
    return options != ONLY_THIS_HOST or any(os.path.exists(path) for path, _ in candidates(image))


def _facts(image: Image) -> dict[str, object]:
    """What must be the same for a kept plan to be this file's, by this resolver."""
    size, digest = image.file_facts()
    return {"schema": SCHEMA, "resolver": _resolver(), "build_id": image.build_id, "size": size, "sha256": digest}


@functools.cache
def _resolver() -> str:
    """A digest of the code that makes plans: another version of it is another resolver."""
    digest = hashlib.sha256()
    files = [_HERE / "phases.py", *(path for part in ("binary", "resolve") for path in (_HERE / part).glob("*.py"))]
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(_capstone())
    return digest.hexdigest()


def _capstone() -> bytes:
    """What tells one version of capstone from another, without importing it: the file that states it."""
    found = importlib.util.find_spec("capstone")
    return Path(found.origin).read_bytes() if found and found.origin else b""


def _file_name(facts: dict[str, object]) -> str:
    return f"{str(facts['build_id'])[:40]}-{str(facts['sha256'])[:32]}.json"


def _kept(image: Image, facts: dict[str, object]) -> ProbePlan | None:
    """The plan kept for these facts, proven again; None if there is none, or anything is wrong with it."""
    data = kept("plans", _file_name(facts), _MOST_BYTES)
    if data is None:
        return None
    try:
        found = json.loads(data)
        if type(found) is not dict or found.keys() != {"facts", "plan", "plan_sha256"} or found["facts"] != facts:
            return None
        if found["plan_sha256"] != _digest(found["plan"]):
            return None
        plan = from_plain(ProbePlan, {**found["plan"], "path": image.path})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return plan if _is_proven(image, plan) else None


def _is_proven(image: Image, plan: ProbePlan) -> bool:
    """Whether the plan's probes are in the file where it says, and mean what they may mean."""
    if plan.build_id != image.build_id or plan.machine != image.machine or plan.roles.keys() != set(Role):
        return False
    code = [(s.address, s.offset) for s in image.executable_segments()]
    if (plan.code_address, plan.code_offset) not in code:
        return False
    for role, one in plan.roles.items():
        if one.role is not role or tuple(one.phases) != ROLE_PHASES[role]:
            return False
        for probe in one.probes:
            if probe.role is not role or BOUNDARIES[role].get(probe.boundary.name) != probe.boundary:
                return False
    if any(probe.role is not None or probe.boundary not in PROCESS_BOUNDARIES for probe in plan.process_probes):
        return False
    return all(
        probe.data
        and image.is_code(probe.address)
        and image.offset_of(probe.address) == probe.file_offset
        and image.read(probe.address, len(probe.data)) == probe.data
        for probe in plan.probes
    )


def _keep(facts: dict[str, object], plan: ProbePlan) -> None:
    """Keeps a plan, if there is a place to keep it in."""
    plain = to_plain(plan) | {"path": ""}
    text = json.dumps({"facts": facts, "plan": plain, "plan_sha256": _digest(plain)}).encode()
    if len(text) <= _MOST_BYTES:
        keep("plans", _file_name(facts), text, _MOST_PLANS)  # binaries come and go with their packages


def _digest(plain: object) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
