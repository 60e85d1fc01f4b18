"""Putting keys and entries into the text of a manifest: comments, order and spelling of all else stay as they are.

The places come from PyYAML's nodes, whose marks count characters. What a file means afterwards is compared with what it
should mean, so that an unusual spelling ends in an error and never in another manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ..errors import Position, Problem

Path = tuple[str, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = ("", "~", "null", "Null", "NULL")
_WIDTH = 110
"""Columns past which what is put in is spread over several lines, where the lines around it are in block style."""


def document(file: str, text: str, problems: list[Problem]) -> Document | None:
    """Return a file's nodes, None where there are none; what the composer can't take is a problem.

    What goes wrong with the document later on is added to the same `problems`.
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        position = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)
        what = f"nothing can be written into this file: {getattr(failure, 'problem', None) or failure}"
        problems.append(Problem(position, what, "write it by hand"))
        return None
    return Document(file, text, root, problems) if isinstance(root, yaml.MappingNode) else None


class _Slot(NamedTuple):
    """A key and its value in a mapping, as nodes."""

    key: Any
    value: Any
    parent: Any


class Document:
    """One file: its nodes, the edits of its text as (start, end, new), and what it should mean once they are made."""

    def __init__(self, file: str, text: str, root: Any, problems: list[Problem]) -> None:
        self.file, self.text, self.root, self.problems = file, text, root, problems
        self.edits: list[tuple[int, int, str]] = []
        self.wanted: Any = _value(root)
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.shared = set(_shared(root))

    def slot(self, path: Path) -> _Slot | None:
        """Return the key and value at a path, merge keys aside, None where there is none."""
        found: _Slot | None = None
        for name in path:
            parent = found.value if found else self.root
            pairs = parent.value if isinstance(parent, yaml.MappingNode) else ()
            found = next((_Slot(key, value, parent) for key, value in pairs if key.value == name), None)
            if found is None:
                return None
        return found

    def meant(self, *path: str) -> Any:
        """Return the value at a path with merge keys and aliases followed, None where there is none."""
        node = self.root
        for name in path:
            node = _child(node, name)
        return node

    def is_own(self, path: Path, what: str) -> bool:
        """Whether the place at a path, or where it would be, is in this file once; if not, that is a problem."""
        last = None
        for length in range(1, len(path) + 1):
            slot = self.slot(path[:length])
            if slot is None:
                inherited = self.meant(*path[:length]) is not None
                return not inherited or self.refuse(path, f"{what} comes from a merge key", last)
            last = slot.key if id(slot.key) not in self.shared else last
            if id(slot.key) in self.shared or id(slot.value) in self.shared:
                return self.refuse(path, f"{what} is in a place that an alias shares", last)
        return True

    def refuse(self, path: Path, what: str, node: Any = None) -> bool:
        mark = node.start_mark if node else self.root.start_mark
        position = Position(self.file, mark.line + 1, mark.column + 1)
        self.problems.append(
            Problem(position, f"nothing can be written here: {what}", f"write {'.'.join(path)} out by hand")
        )
        return False

    def add(self, path: Path, items: Mapping[str, Any]) -> None:
        """Add keys to the mapping at a path; where there is none yet, make it, and those above it."""
        slot = self.slot(path)
        if slot is None:
            self.add(path[:-1], {path[-1]: items})
            return
        held = _get(self.wanted, path)
        _put(self.wanted, path, {**items, **(held if isinstance(held, dict) else {})})
        if not isinstance(slot.value, yaml.MappingNode):
            self._fill(slot, items)
        elif slot.value.flow_style:
            self._insert_into_flow(slot.value, _flow(items)[1:-1])
        else:
            column = slot.value.value[0][0].start_mark.column if slot.value.value else slot.key.start_mark.column + 2
            self._insert_lines(
                slot.key.end_mark.index, column, [line for item in items.items() for line in _block(*item)]
            )

    def append(self, path: Path, entries: Sequence[Any]) -> None:
        """Add entries to the end of the list at a path; where there is none yet, make it, and those above it."""
        slot = self.slot(path)
        if slot is None:
            self.add(path[:-1], {path[-1]: list(entries)})
            return
        node = slot.value
        if isinstance(node, yaml.SequenceNode) and node.value and id(node.value[-1]) in self.shared:
            self.refuse(path, "the last entry of the list is an alias", slot.key)
            return
        held = _get(self.wanted, path)
        _put(self.wanted, path, [*(held if isinstance(held, list) else ()), *entries])
        if not isinstance(node, yaml.SequenceNode):
            self._fill(slot, list(entries))
        elif not node.value:
            self._insert_into_flow(node, _flow(entries)[1:-1])
        elif node.flow_style:
            end = node.value[-1].end_mark.index
            self.edits.append((end, end, f", {_flow(entries)[1:-1]}"))
        else:
            dash = self.text.rfind("-", 0, node.value[0].start_mark.index)
            column = dash - max(self.text.rfind(end, 0, dash) for end in "\r\n") - 1
            self._insert_lines(_end(node), column, [f"- {_flow(entry)}" for entry in entries])

    def replace(self, path: Path, number: int, key: str, text: str) -> None:
        """Write another text in the place of the scalar under a key in an entry of the list at a path."""
        what = f"{key} {text}"
        slot = self.slot(path)
        if not self.is_own(path, what) or slot is None:
            return
        entry = slot.value.value[number]
        node = _child(entry, key)
        if {id(entry), id(node)} & self.shared or not any(value is node for _, value in entry.value):
            self.refuse(path, f"{what} is in a place that an alias shares", slot.key)
            return
        if "$" in node.value:
            self.refuse(path, f"{what} stands for a variable", node)
            return
        start, end = node.start_mark.index, node.end_mark.index
        quote = self.text[start] if self.text[start] in "'\"" else '"' if ":" in text else ""
        self.edits.append((start, end, f"{quote}{text}{quote}"))
        _get(self.wanted, path)[number][key] = text

    def rewrite(self, path: Path, number: int, text: str, items: Mapping[str, str]) -> None:
        """Write a text in the place of an entry of the list at a path that is one; to a mapping, add items."""
        slot = self.slot(path)
        if not self.is_own(path, text) or slot is None:
            return
        entry = slot.value.value[number]
        if id(entry) in self.shared or (isinstance(entry, yaml.ScalarNode) and "$" in entry.value):
            self.refuse(path, f"{text} is in a place that an alias shares, or a variable", slot.key)
        elif isinstance(entry, yaml.MappingNode):
            self._insert_into(entry, items)
            _get(self.wanted, path)[number].update(items)
        else:
            self.edits.append((entry.start_mark.index, entry.end_mark.index, _flow(text)))
            _get(self.wanted, path)[number] = text

    def _insert_into(self, node: Any, items: Mapping[str, str]) -> None:
        if node.flow_style:
            self._insert_into_flow(node, _flow(items)[1:-1])
            return
        column = node.value[0][0].start_mark.column
        lines = [line for item in items.items() for line in _block(*item)]
        self._insert_lines(node.value[0][1].end_mark.index, column, lines)

    def put(self, path: Path, value: str | Sequence[str]) -> None:
        """Write a text, or a list of them, in the place of the scalar at a path."""
        what = f"{path[-1]} {_flow(value)}"
        slot = self.slot(path)
        if not self.is_own(path, what) or slot is None:
            return
        if "$" in slot.value.value:
            self.refuse(path, f"{what} stands for a variable", slot.value)
            return
        self.edits.append((slot.value.start_mark.index, slot.value.end_mark.index, _flow(value)))
        _put(self.wanted, path, value)

    def list_to_mapping(self, path: Path, items: Mapping[str, Mapping[str, str]]) -> None:
        """Turn a list of names into a mapping from them to `items`."""
        slot = self.slot(path)
        if slot is None:
            return
        node = slot.value
        names = [one.value for one in node.value]
        if any(id(one) in self.shared or "$" in one.value for one in node.value):
            self.refuse(path, "a name in the list is an alias or a variable", slot.key)
            return
        _put(self.wanted, path, {name: dict(items.get(name) or {}) or "" for name in names})
        if node.flow_style:
            opening = self.text.index("[", node.start_mark.index)
            self.edits += [(opening, opening + 1, "{"), (node.end_mark.index - 1, node.end_mark.index, "}")]
        for one in node.value:
            start, end, more = one.start_mark.index, one.end_mark.index, items.get(one.value)
            if not node.flow_style:
                dash = self.text.rfind("-", 0, start)
                is_inner = node.start_mark.column > slot.key.start_mark.column
                self.edits.append((dash, start, "" if is_inner else " " * (start - dash)))
            if more or not node.flow_style:
                self.edits.append((end, end, f": {_flow(more)}" if more else ":"))

    def _fill(self, slot: _Slot, value: Any) -> None:
        """Write a value where there is none, or a null: over several lines only below a key that stands alone."""
        start, end = slot.value.start_mark.index, slot.value.end_mark.index
        flow = _flow(value)
        bare = slot.parent is not None and not slot.parent.flow_style and self.text[start:end] == ""
        if (
            bare
            and slot.key.start_mark.column + len(slot.key.value) + len(flow) > _WIDTH
            and isinstance(value, Mapping)
        ):
            lines = [line for item in value.items() for line in _block(*item)]
            self._insert_lines(start, slot.key.start_mark.column + 2, lines)
        elif self.text[start:end]:
            self.edits.append((start, end, flow))
        else:
            gap = self.text[slot.key.end_mark.index : start].rstrip()
            at = slot.key.end_mark.index + len(gap)  # {front, back} has keys without even a colon
            self.edits.append((at, at, f" {flow}" if gap.endswith(":") else f": {flow}"))

    def _insert_into_flow(self, node: Any, items: str) -> None:
        """Insert items after the opening bracket, spaced as what follows is."""
        sign = "{" if isinstance(node, yaml.MappingNode) else "["
        at = self.text.index(sign, node.start_mark.index) + 1
        if node.value:
            items = f" {items}," if self.text[at].isspace() else f"{items}, "
        self.edits.append((at, at, items))

    def _insert_lines(self, index: int, column: int, lines: Sequence[str]) -> None:
        """Insert lines after the one that an index is in, comments at its end included."""
        end = self.text.find("\n", index)
        if end < 0:
            end = len(self.text)
        elif self.text[end - 1] == "\r":
            end -= 1
        self.edits.append((end, end, "".join(f"{self.newline}{' ' * column}{line}" for line in lines)))

    def edited(self) -> str:
        """Return the text with its edits; that it means something else than it should is a problem."""
        text = self.text
        for start, end, new in sorted(self.edits, reverse=True):
            text = text[:start] + new + text[end:]
        check: list[Problem] = []
        again = document(self.file, text, check)
        if again is None or _value(again.root) != self.wanted:
            what = "nothing can be written into this file: it is spelled in an unusual way"
            self.problems.append(Problem(Position(self.file, 1, 1), what, "write it by hand"))
        return text


def _child(node: Any, name: str) -> Any:
    """Return the value of a key in a mapping, its own or else a merged one, None where there is none."""
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[Any] = []
    for key, value in node.value:
        if key.value == name:
            return value
        if key.tag == "tag:yaml.org,2002:merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    return next((found for one in merged if (found := _child(one, name)) is not None), None)


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _shared(root: Any) -> Iterator[int]:
    """Yield the id() of each node that the document refers to more than once."""
    seen: set[int] = set()
    queue = [root]
    while queue:
        for child in _children(queue.pop()):
            if id(child) in seen:
                yield id(child)
            else:
                seen.add(id(child))
                queue.append(child)


def _value(node: Any) -> Any:
    """Return a node as dicts, lists and texts; an empty or null scalar is an empty text."""
    if isinstance(node, yaml.MappingNode):
        return {
            key.value if isinstance(key.value, str) else repr(key.value): _value(value) for key, value in node.value
        }
    if isinstance(node, yaml.SequenceNode):
        return [_value(child) for child in node.value]
    return "" if node.style is None and node.value in _NULLS else node.value


def _end(node: Any) -> int:
    """Return where the last scalar or flow collection in a node ends: a block collection ends past the comments."""
    while not isinstance(node, yaml.ScalarNode) and not node.flow_style:
        *_, node = _children(node)
    end: int = node.end_mark.index
    return end


def _get(value: Any, path: Path) -> Any:
    for name in path:
        value = value[name]
    return value


def _put(value: Any, path: Path, new: Any) -> None:
    _get(value, path[:-1])[path[-1]] = new


def _flow(value: Any) -> str:
    """Return a value in flow style; texts with a colon are quoted."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        return f'"{value}"' if ":" in value else value
    return "[" + ", ".join(map(_flow, value)) + "]"


def _block(key: str, value: Any) -> list[str]:
    """Return the lines of a key and its value: one where it is short, else in block style as far as needed."""
    line = f"{key}: {_flow(value)}"
    if isinstance(value, str) or len(line) <= _WIDTH - 20:
        return [line]
    if isinstance(value, Mapping):
        return [f"{key}:", *(f"  {one}" for item in value.items() for one in _block(*item))]
    return [f"{key}:", *(f"  - {_flow(one)}" for one in value)]
