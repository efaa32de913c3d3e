"""Questions about paths, on graphs made by hand; and against an enumeration of every path of random graphs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colotrace.binary.code import Function, Instruction, Kind
from colotrace.resolve.paths import Segment, reach, straight_on

from .decoding import deadline

CALL, MOV = b"\xe8\0\0\0\0", b"\x89\xdf"
Graph = dict[int, tuple[int, ...]]


def function_of(edges: Graph, plain: frozenset[int] = frozenset(), entry: int = 0) -> Function:
    """A function whose instructions are the nodes: calls, but for those in `plain`."""
    function = Function(entry)
    for node, successors in edges.items():
        kind, data = (Kind.PLAIN, MOV) if node in plain else (Kind.CALL, CALL)
        function.instructions[node] = Instruction(node, data, "", kind, emulated=kind is Kind.CALL)
        function.successors[node] = successors
    for node, successors in edges.items():
        for successor in successors:
            function.predecessors.setdefault(successor, []).append(node)
    return function


def unavoidable(function: Function, source: int, sink: int, avoid: tuple[int, ...] = ()) -> list[int]:
    segment = Segment(function, source, sink, avoid)
    return [i.address for i in segment.unavoidable(function.instructions.values())]


DIAMOND: Graph = {0: (1,), 1: (2, 3), 2: (4,), 3: (4,), 4: (5,), 5: ()}
BACKWARDS: Graph = {0: (5,), 5: (2,), 2: (7,), 7: (1,), 1: ()}
LOOP: Graph = {0: (1,), 1: (2,), 2: (1, 3), 3: (0, 4), 4: ()}
ERROR_PATH: Graph = {0: (1, 9), 1: (2, 9), 2: (3,), 3: (), 9: (8,), 8: ()}
RETRY: Graph = {0: (1,), 1: (2, 9), 2: (3,), 3: (), 9: (0,)}


@pytest.mark.parametrize(
    ("graph", "source", "sink", "avoid", "expected"),
    [
        (DIAMOND, 0, 5, (), [1, 4]),
        (DIAMOND, 0, 5, (3,), [1, 2, 4]),
        (DIAMOND, 0, 4, (), [1]),
        (DIAMOND, 1, 4, (), []),
        (DIAMOND, 4, 5, (), []),
        (DIAMOND, 0, 5, (1,), []),
        (BACKWARDS, 0, 1, (), [5, 2, 7]),
        (LOOP, 0, 4, (), [1, 2, 3]),
        (LOOP, 2, 4, (), [3]),
        (LOOP, 3, 2, (), [0, 1]),
        (ERROR_PATH, 0, 3, (), [1, 2]),
        (ERROR_PATH, 0, 8, (), [9]),
        (RETRY, 0, 3, (), [1, 2]),
    ],
)
def test_unavoidable(graph: Graph, source: int, sink: int, avoid: tuple[int, ...], expected: list[int]) -> None:
    assert unavoidable(function_of(graph), source, sink, avoid) == expected


@pytest.mark.parametrize(
    ("graph", "source", "sink", "avoid", "connected"),
    [
        (DIAMOND, 0, 5, (), True), (DIAMOND, 4, 5, (), True), (DIAMOND, 5, 0, (), False), (DIAMOND, 0, 5, (1,), False),
        (DIAMOND, 0, 5, (2, 3), False), (LOOP, 3, 2, (), True), (LOOP, 3, 2, (1,), False), (DIAMOND, 0, 77, (), False),
    ],
)  # fmt: skip
def test_connected(graph: Graph, source: int, sink: int, avoid: tuple[int, ...], connected: bool) -> None:
    assert Segment(function_of(graph), source, sink, avoid).connected is connected


def test_only_candidates_are_answered() -> None:
    function = function_of(DIAMOND)
    segment = Segment(function, 0, 5, ())
    assert segment.unavoidable([function.instructions[at] for at in (4, 2, 5, 0)]) == [function.instructions[4]]
    assert [i.address for i in segment.instructions()] == [1, 2, 3, 4]


def test_reach() -> None:
    assert reach(LOOP, [2], set()) == {0, 1, 2, 3, 4}
    assert reach(LOOP, [2], {3}) == {1, 2}
    assert reach(LOOP, [2], {2}) == set()
    assert reach(DIAMOND, [2, 5], set()) == {2, 4, 5}


def all_paths(graph: Graph, node: int, sink: int, blocked: set[int]) -> list[list[int]]:
    """The inner nodes of every path from (but without) `node` to `sink`, in an acyclic graph."""
    paths: list[list[int]] = []
    for successor in graph[node]:
        if successor == sink:
            paths.append([])
        elif successor not in blocked:
            paths += [[successor, *rest] for rest in all_paths(graph, successor, sink, blocked)]
    return paths


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[Graph, set[int]]:
    """A graph of up to eight nodes whose edges lead upwards, in shuffled addresses; and nodes to avoid."""
    size = draw(st.integers(3, 8))
    places = draw(st.permutations(range(size)))
    edges = {}
    for node in range(size):
        later = places[node + 1 :]
        several = st.lists(st.sampled_from(later), max_size=3, unique=True) if later else st.just([])
        edges[places[node]] = tuple(draw(several))
    avoid = draw(st.sets(st.sampled_from(places[1:-1]), max_size=2))
    return edges, avoid


@settings(max_examples=150, deadline=None, derandomize=True)
@given(acyclic())
def test_against_every_path(drawn: tuple[Graph, set[int]]) -> None:
    graph, avoid = drawn
    function = function_of(graph)
    source, sink = next(iter(graph)), list(graph)[-1]
    paths = all_paths(graph, source, sink, avoid)
    segment = Segment(function, source, sink, avoid)
    assert segment.connected is bool(paths)
    assert segment.nodes == {node for path in paths for node in path}
    found = unavoidable(function, source, sink, tuple(avoid))
    assert set(found) == (set.intersection(*map(set, paths)) if paths else set())
    for path in paths:
        assert [node for node in path if node in found] == found, "in the order in which every path passes them"


LINE: Graph = {0: (1,), 1: (2,), 2: (3,), 3: ()}


@pytest.mark.parametrize(
    ("graph", "plain", "start", "skip", "expected"),
    [
        (LINE, {0, 1}, 0, False, 2),
        (LINE, {1}, 0, False, 0),
        (LINE, {1}, 0, True, 2),
        (LINE, {1, 2, 3}, 0, True, None),
        ({0: (1,), 1: (9,)}, {0, 1}, 0, False, None),
        ({0: (1, 2), 1: (), 2: ()}, {0}, 0, False, None),
        ({0: (1,), 7: (1,), 1: ()}, {0}, 0, False, None),
        ({0: (1,), 1: (2,), 2: (1,)}, {0}, 0, False, None),
    ],
    ids=["first", "itself", "skipped", "line ends", "leaves the graph", "branches", "is jumped into", "loop"],
)
def test_straight_on(graph: Graph, plain: set[int], start: int, skip: bool, expected: int | None) -> None:
    found = straight_on(function_of(graph, frozenset(plain)), start, skip_start=skip)
    assert (found.address if found else None) == expected


@pytest.mark.parametrize("graph", [{0: (0,)}, {0: (1,), 1: (0,)}], ids=["itself", "two"])
def test_straight_on_ends_in_a_loop_over_the_entry(graph: Graph) -> None:
    """A prefixed jump is not emulated: `notrack jmp` to the function's own start is such a loop."""
    with deadline(0.5):
        assert straight_on(function_of(graph, frozenset(graph)), 0, skip_start=False) is None
