"""What a YAML parser complains of, in words that say what to do."""

from __future__ import annotations

from typing import Any

from ..errors import Position, Problem, source_line
from .source import Source

_WORDS = {
    "found unexpected end of stream": ("the quotes that open here are never closed", "close them"),
    "expected ',' or ']'": ("the list that opens here is never closed", "close it with ]"),
    "expected ',' or '}'": ("the mapping that opens here is never closed", "close it with }"),
    "could not find expected ':'": ("this line has no colon", "write KEY: VALUE"),
    "expected key": ("this line does not stand where its neighbours do", "indent it like the keys around it"),
    "expected <block end>": ("this line does not stand where its neighbours do", "indent it like the keys around it"),
    "expected '-' indicator": ("this line does not stand where its neighbours do", "begin it with '- '"),
    "block sequence entries are not allowed": ("a list can't begin here", "begin it on a line of its own"),
    "expected node content": ("a value is missing here, or begins with a sign of YAML's own", "put it in quotes"),
    "did not find expected alphabetic": ("& and * must be followed by a name", "put the text in quotes"),
}
_FROM_CONTEXT = ("the quotes that open", "the list that opens", "the mapping that opens")


def explained(source: Source, failure: Any) -> Problem:
    """Return the problem that a `yaml.YAMLError` stands for."""
    mark: Any = getattr(failure, "problem_mark", None)
    reason = str(getattr(failure, "problem", "") or "")
    if mark is None and hasattr(failure, "position"):
        return _unreadable(source, failure)
    if "cannot start any token" in reason:
        letter = _line(source.text, mark)[mark.column : mark.column + 1]
        if letter == "\t":
            return Problem(_position(source, mark), "a tab is used to indent", "YAML wants spaces")
        return Problem(_position(source, mark), f"a value can't begin with {letter!r}", "put it in quotes")
    if "mapping values are not allowed" in reason:
        return Problem(_position(source, mark), *_colon(source.text, mark))
    for words, (what, mend) in _WORDS.items():
        if words in reason:
            if what.startswith(_FROM_CONTEXT):
                mark = getattr(failure, "context_mark", None) or mark
            return Problem(_position(source, mark), what, mend)
    return Problem(_position(source, mark), f"this is not YAML: {reason or failure}")


def _position(source: Source, mark: Any) -> Position:
    return Position(source.file, mark.line + 1, mark.column + 1) if mark else Position(source.file, 1, 1)


def _line(text: str, mark: Any) -> str:
    return source_line({"": text}, Position("", mark.line + 1, 1)) or ""


def _colon(text: str, mark: Any) -> tuple[str, str]:
    """Return what is wrong with a colon that makes no key: the line is no neighbour of those above, or has two."""
    if ": " in _line(text, mark)[: mark.column]:
        return "there is a colon too many", "put a value that has ': ' in it in quotes"
    return "this can't be a key here", "is the line above without its colon, or this one indented too far?"


def _unreadable(source: Source, failure: Any) -> Problem:
    """Return the problem of a character that YAML forbids. libyaml counts in bytes, PyYAML in characters."""
    before = source.text.encode()[: failure.position].decode("utf-8", "replace")
    if failure.__class__.__module__.endswith("reader") and isinstance(failure.character, str):
        before = source.text[: failure.position]
    code = failure.character if isinstance(failure.character, int) else ord(failure.character[:1] or "\0")
    position = Position(source.file, before.count("\n") + 1, len(before) - before.rfind("\n"))
    return Problem(position, f"the character U+{code:04X} is not allowed in YAML", "remove it")
