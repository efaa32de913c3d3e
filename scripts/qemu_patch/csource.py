"""A C source as a syntax tree: its functions, the calls in them, and the statements around those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter_c
from tree_sitter import Language, Node, Parser

from .errors import MismatchError

LANGUAGE = Language(tree_sitter_c.language())
PLAIN_STATEMENTS = ("expression_statement", "declaration")
ASSIGNMENTS = ("assignment_expression", "init_declarator")
LOOPS = ("while_statement", "for_statement", "do_statement")
BLOCKS = ("compound_statement", "case_statement", "preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif")
"""Parents in which a further statement may stand beside a statement without changing what belongs to what."""


def text_of(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode()


@dataclass(frozen=True)
class FoundCall:
    """One call expression: the function's name, the arguments' texts, and the node."""

    name: str
    arguments: tuple[str, ...]
    node: Node

    @property
    def position(self) -> int:
        """Where it begins, in bytes from the file's begin."""
        return self.node.start_byte

    @property
    def assigned(self) -> str | None:
        """The text of what the call's result is assigned to; None if it is not."""
        parent = self.node.parent
        if parent is not None and parent.type == "assignment_expression" and parent.child_by_field_name("right"):
            target = parent.child_by_field_name("left")
            return None if target is None else text_of(target)
        return None

    def statement(self) -> Node | None:
        """The statement that is this call, or an assignment of it; None if the call is part of something larger."""
        node = self.node.parent
        while node is not None and node.type in ASSIGNMENTS:
            node = node.parent
        return node if node is not None and node.type in PLAIN_STATEMENTS else None

    def outermost_loop(self) -> Node | None:
        """The loop around it, the outermost if there are several; None outside of loops."""
        found = None
        node = self.node.parent
        while node is not None and node.type != "function_definition":
            if node.type in LOOPS:
                found = node
            node = node.parent
        return found


@dataclass(frozen=True)
class Function:
    """One function definition."""

    name: str
    body: Node

    @cached_property
    def calls(self) -> tuple[FoundCall, ...]:
        """Every call of a function by its name, in the order of the text."""
        found = []
        for node in _descendants(self.body):
            callee = node.child_by_field_name("function") if node.type == "call_expression" else None
            if callee is not None and callee.type == "identifier":
                arguments = node.child_by_field_name("arguments")
                inner = [] if arguments is None else [n for n in arguments.named_children if n.type != "comment"]
                found.append(FoundCall(text_of(callee), tuple(map(text_of, inner)), node))
        return tuple(sorted(found, key=lambda call: call.position))

    def first_statement(self) -> Node | None:
        """The first statement after the declarations and comments that the body begins with."""
        for node in self.body.named_children:
            if node.type not in ("declaration", "comment"):
                return node
        return None


class CSource:
    """A parsed file; `name` is for messages."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.data = text.encode()
        self._root = Parser(LANGUAGE).parse(self.data).root_node

    def function(self, name: str) -> Function:
        """The definition of a function. MismatchError if there is none, more than one, or one that does not parse."""
        found = [function for function in self._functions() if function.name == name]
        if len(found) != 1:
            raise MismatchError(f"{self.name}: {len(found)} definitions of {name}(), expected 1")
        if found[0].body.has_error:
            raise MismatchError(f"{self.name}: the body of {name}() cannot be parsed")
        return found[0]

    def last_include(self) -> Node:
        """The last #include outside of any condition. MismatchError if there is none."""
        includes = [node for node in self._root.named_children if node.type == "preproc_include"]
        if not includes:
            raise MismatchError(f"{self.name}: no #include, expected at least 1")
        return includes[-1]

    def _functions(self) -> Iterator[Function]:
        for node in _descendants(self._root):
            if node.type != "function_definition":
                continue
            declarator, body = node.child_by_field_name("declarator"), node.child_by_field_name("body")
            while declarator is not None and declarator.type == "pointer_declarator":
                declarator = declarator.child_by_field_name("declarator")
            name = None if declarator is None else declarator.child_by_field_name("declarator")
            if name is not None and body is not None:
                yield Function(text_of(name), body)


def _descendants(root: Node) -> Iterator[Node]:
    """Every node below `root`, without recursion: expressions nest deeply."""
    waiting = list(root.children)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children)
