"""From YAML text to a tree of plain values that know their places.

The tree is built from the parser's events, not by PyYAML's loaders: those lose the places, construct objects from tags
and take YAML 1.1's types, in which `on` is true and 53:53 a number. Here a scalar without quotes that could be
something else than a text stays a `Plain` until the schema says what is wanted of it (`reconciler.manifest.compiler`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import yaml

from ..errors import Position, Problem
from .source import Source
from .variables import substitute

MAX_NODES = 1_000_000
"""The most values that a file may hold once its aliases are expanded."""

MAX_DEPTH = 32
"""The deepest that values may be nested; a manifest needs eight."""

Place: TypeAlias = tuple[str, int, int]
"""File, line and column, as in `errors.Position`, which is slower to make."""


class Map(dict[str, Any]):
    """A mapping: `at` is its own place, `key_at` and `value_at` those of its keys and values."""

    __slots__ = ("at", "key_at", "value_at")

    def __init__(self, at: Place) -> None:
        self.at = at
        self.key_at: dict[str, Place] = {}
        self.value_at: dict[str, Place] = {}


class Seq(list[Any]):
    """A list: `at` is its own place, `item_at` those of its items."""

    __slots__ = ("at", "item_at")

    def __init__(self, at: Place) -> None:
        self.at = at
        self.item_at: list[Place] = []


class Plain(str):
    """A scalar without quotes that may be a number, a truth value or nothing, as well as a text."""

    __slots__ = ()


_PLAIN_START = frozenset("0123456789+-.~nNtTfFyYoO")
_PLAIN = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|~|null|Null|NULL|true|True|TRUE|false|False|FALSE"
    r"|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
)
_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "bool", "null", "map", "seq")} | {"!": "str"}
_WANTED = {"int": int, "bool": bool, "null": type(None)}
_MERGE = object()

BROKEN: Any = object()
"""Stands for a scalar of which a problem has been said: it is not checked any further."""


def plain(text: str) -> str:
    """Return a scalar without quotes: as a `Plain` where it could be something else than a text."""
    if not text or (text[0] in _PLAIN_START and _PLAIN.fullmatch(text)):
        return Plain(text)
    return text


def core(text: str) -> str | int | float | bool | None:
    """Return what a scalar without quotes is by YAML 1.2's core schema (10.3.2); .nan and .inf are texts."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false") and (text[1:].islower() or text.isupper()):
        return text[0] in "tT"
    try:
        if re.fullmatch("[-+]?[0-9]{1,18}", text):
            return int(text)
        if re.fullmatch("0o[0-7]{1,20}|0x[0-9a-fA-F]{1,16}", text):
            return int(text, 0)
        return float(text) if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,2})?", text) else text
    except ValueError:
        return text


class _Stop(Exception):
    """The file can't be read further; the problem has been noted."""


def parse(source: Source, environ: Mapping[str, str], problems: list[Problem], pure: bool = False) -> Map | None:
    """Return the file's tree, None where it is no mapping or can't be read; what is wrong is added to `problems`.

    `pure` takes PyYAML's own parser also where libyaml is there, which is ten times as fast.
    """
    builder = _Builder(source.file, environ, problems)
    try:
        next_event = _parser(source.text, pure)
        methods = builder.methods()
        while not isinstance(event := next_event(), yaml.StreamEndEvent):
            methods[event.__class__](event)
    except _Stop:
        return None
    except yaml.YAMLError as failure:
        from .syntax import explained

        problems.append(explained(source, failure))
        return None
    except ValueError:  # half a surrogate pair, which can't come from a file; an escape past U+10FFFF
        problems.append(Problem(Position(source.file, 1, 1), "the text is not valid Unicode", "save it as UTF-8"))
        return None
    if builder.root is None:
        return Map((source.file, 1, 1))  # an empty file says nothing
    if not isinstance(builder.root, Map):
        if isinstance(builder.root, Plain) and core(builder.root) is None:
            return Map((source.file, 1, 1))
        if builder.root is BROKEN:
            return None
        what = "a manifest is a mapping with keys such as project, networks and containers"
        problems.append(Problem(Position(*builder.root_at), what, "see docs/manifest.md"))
        return None
    return builder.root


def _parser(text: str, pure: bool) -> Any:
    """Return the function that yields the parser's next event."""
    if yaml.__with_libyaml__ and not pure:
        from yaml._yaml import CParser

        return CParser(text).get_event
    return yaml.SafeLoader(text).get_event  # only its parser is used


class _Builder:
    """Takes the events of one file. `open` are the collections that have begun and not ended, the innermost last."""

    __slots__ = ("anchors", "environ", "file", "keys", "merges", "nodes", "open", "problems", "root", "root_at")

    def __init__(self, file: str, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self.file, self.environ, self.problems = file, environ, problems
        self.root: Any = None
        self.root_at: Place = (file, 1, 1)
        self.open: list[Map | Seq] = []
        self.keys: list[Any] = []  # for each of `open`, the key that waits for its value
        self.merges: dict[int, list[tuple[Any, Place]]] = {}  # by id() of a mapping, the values of its <<
        self.anchors: dict[str, tuple[Any, Place]] = {}
        self.nodes = 0

    def methods(self) -> dict[type[yaml.Event], Any]:
        return {
            yaml.ScalarEvent: self.scalar,
            yaml.MappingStartEvent: self.start_mapping,
            yaml.SequenceStartEvent: self.start_sequence,
            yaml.MappingEndEvent: self.end_mapping,
            yaml.SequenceEndEvent: self.end_sequence,
            yaml.AliasEvent: self.alias,
            yaml.DocumentStartEvent: self.start_document,
            yaml.DocumentEndEvent: lambda event: None,
            yaml.StreamStartEvent: lambda event: None,
        }

    def place(self, event: Any) -> Place:
        mark = event.start_mark
        return self.file, mark.line + 1, mark.column + 1

    def complain(self, at: Place, what: str, mend: str = "") -> None:
        self.problems.append(Problem(Position(*at), what, mend))

    def count(self, at: Place) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.complain(at, f"the file holds more than {MAX_NODES} values", "use fewer aliases, or split the file")
            raise _Stop
        if len(self.open) > MAX_DEPTH:
            self.complain(at, f"values are nested more than {MAX_DEPTH} deep")
            raise _Stop

    def start_document(self, event: yaml.Event) -> None:
        if self.root is not None:
            self.complain(self.place(event), "a second document begins here", "put each into a file of its own")
            raise _Stop

    def scalar(self, event: Any) -> None:
        mark = event.start_mark
        at = (self.file, mark.line + 1, mark.column + 1)
        text: Any = event.value
        is_plain = event.implicit[0] and event.tag is None
        is_key = self.open and self.keys[-1] is None and self.open[-1].__class__ is Map
        if is_key:
            if text == "<<" and is_plain:
                text = _MERGE
        else:
            count = len(self.problems)
            if "$" in text:
                text = substitute(text, self.environ, lambda what, mend: self.complain(at, what, mend))
                is_plain = is_plain or event.tag is None  # in { } it can only be said in quotes: "${MTU}"
            if event.tag is not None:
                text = self.tagged(event.tag, text, at)
            elif is_plain:
                text = plain(text)
            if len(self.problems) > count:
                text = BROKEN
        if event.anchor is not None:
            self.anchors[event.anchor] = (text, at)
        self.add(text, at)

    def tagged(self, tag: str, text: str, at: Place) -> Any:
        name = _TAGS.get(tag)
        if name == "str":
            return text
        value = core(text)
        if name in _WANTED and type(value) is _WANTED[name]:
            return Plain(text)
        if name is None:
            self.refuse_tag(tag, at)
        else:
            self.complain(at, f"the value is not what its tag !!{name} says", "remove the tag")
        return text

    def refuse_tag(self, tag: str, at: Place) -> None:
        short = tag.replace("tag:yaml.org,2002:", "!!")
        self.complain(at, f"the tag {short} is not allowed here", "a manifest needs none; remove it")

    def start_mapping(self, event: Any) -> None:
        if event.tag is not None and _TAGS.get(event.tag) != "map":
            self.refuse_tag(event.tag, self.place(event))
        self.start(Map(self.place(event)), event)

    def start_sequence(self, event: Any) -> None:
        if event.tag is not None and _TAGS.get(event.tag) != "seq":
            self.refuse_tag(event.tag, self.place(event))
        self.start(Seq(self.place(event)), event)

    def start(self, node: Map | Seq, event: Any) -> None:
        self.add(node, node.at)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, node.at)
        self.open.append(node)
        self.keys.append(None)

    def end_sequence(self, event: yaml.Event) -> None:
        self.open.pop()
        self.keys.pop()

    def end_mapping(self, event: yaml.Event) -> None:
        node = self.open.pop()
        self.keys.pop()
        if self.merges and isinstance(node, Map):
            for value, at in self.merges.pop(id(node), ()):
                self.merge(node, value, at)

    def alias(self, event: Any) -> None:
        at = self.place(event)
        if event.anchor not in self.anchors:
            from .words import did_you_mean

            self.complain(at, f"there is no anchor &{event.anchor} above", did_you_mean(event.anchor, self.anchors))
            self.add(BROKEN, at)
            return
        value, _ = self.anchors[event.anchor]
        if any(node is value for node in self.open):
            self.complain(at, f"the anchor &{event.anchor} would contain itself")
            raise _Stop
        self.add(self.copied(value, at, len(self.open)), at)

    def copied(self, node: Any, at: Place, depth: int) -> Any:
        """Return a copy, since what is wanted of a value may differ from place to place."""
        if not isinstance(node, Map | Seq):
            return node
        self.count(at)
        if depth > MAX_DEPTH:
            self.complain(at, f"values are nested more than {MAX_DEPTH} deep")
            raise _Stop
        if isinstance(node, Map):
            twin = Map(node.at)
            twin.key_at, twin.value_at = dict(node.key_at), dict(node.value_at)
            for key, value in node.items():
                twin[key] = self.copied(value, at, depth + 1)
            self.nodes += len(node)
            return twin
        copy = Seq(node.at)
        copy.item_at = list(node.item_at)
        copy.extend(self.copied(value, at, depth + 1) for value in node)
        self.nodes += len(node)
        return copy

    def add(self, value: Any, at: Place) -> None:
        """Put a value where it belongs: the next key, the value of the last one, the next item, the whole."""
        self.count(at)
        if not self.open:
            self.root, self.root_at = value, at
            return
        parent = self.open[-1]
        if isinstance(parent, Seq):
            parent.append(value)
            parent.item_at.append(at)
            return
        key = self.keys[-1]
        if key is None:
            self.keys[-1] = self.key(parent, value, at)
            return
        self.keys[-1] = None
        name, key_at = key
        if name is _MERGE:
            self.merges.setdefault(id(parent), []).append((value, at))
        elif name is not None:
            parent[name] = value
            parent.key_at[name] = key_at
            parent.value_at[name] = at

    def key(self, parent: Map, name: Any, at: Place) -> tuple[Any, Place]:
        """Return a key that waits for its value; its name is None where it can't be used."""
        if name is _MERGE:
            return name, at
        if not isinstance(name, str):
            self.complain(at, "a key must be a text", "a mapping or list can't be one")
            return None, at
        if name in parent:
            first = Position(*parent.key_at[name])
            self.complain(at, f"the key {name} is given twice, first at {first}", "remove one")
            return None, at
        return str(name), at

    def merge(self, node: Map, value: Any, at: Place) -> None:
        """Fill a mapping with what its << names: its own keys win, and of several those of the first."""
        others = value if isinstance(value, Seq) else [value]
        if not all(isinstance(other, Map) for other in others):
            self.complain(at, "<< takes a mapping or a list of mappings, such as *NAME")
            return
        own = [(key, node[key], node.key_at[key], node.value_at[key]) for key in node]
        node.clear()
        for other in reversed(others):
            node.update(other)
            node.key_at.update(other.key_at)
            node.value_at.update(other.value_at)
        for key, one, key_at, value_at in own:
            node[key] = one
            node.key_at[key] = key_at
            node.value_at[key] = value_at
