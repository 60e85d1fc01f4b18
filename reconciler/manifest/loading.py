"""The life of a manifest, from file names to checked values, one step after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from ..errors import ManifestError, Position, Problem
from .checks import Walk
from .model import Manifest
from .source import read
from .tree import BROKEN, Map, Plain, Seq, parse

_SECTIONS = {"networks": "network", "containers": "container", "services": "service", "hosts": "host"}


def load(paths: Sequence[str], environ: Mapping[str, str], stdin: TextIO | None) -> Manifest:
    """See `reconciler.manifest.load`."""
    from . import schema
    from .build import build
    from .rules import findings

    problems: list[Problem] = []
    sources = read(paths, stdin, problems)
    texts = {source.file: source.text for source in sources}
    unread = len(problems)
    trees = [parse(source, environ, problems) for source in sources]
    whole = not unread and None not in trees
    root = _merged([tree for tree in trees if tree is not None], problems)
    if root is None:
        raise _error(problems, texts)
    if not whole and "project" not in root:  # it may be in a file that could not be read
        root["project"], root.key_at["project"], root.value_at["project"] = "unknown", root.at, root.at
    walk = Walk(problems)
    twice = {one.what.partition(" is given twice")[0] for one in problems}  # of which the second is not in the tree
    walk.refused += [(root, section) for section in _SECTIONS if f"the key {section}" in twice]
    schema.checker()(root, root.at, "the manifest", walk)
    count = len(problems)
    manifest = build(root, texts, problems)
    if not problems:
        problems += findings(manifest)
    elif whole:
        from .supposing import problems_of_the_rest

        places = [one.position for one in problems[count:]]
        problems += problems_of_the_rest(root, texts, walk.refused, places)
    if problems:
        raise _error(problems, texts)
    return manifest


def _error(problems: Sequence[Problem], texts: Mapping[str, str]) -> ManifestError:
    return ManifestError([Problem(at, _printable(what), _printable(mend)) for at, what, mend in problems], texts)


def _printable(text: str) -> str:
    """Return a message that stays on its line and moves no cursor, whatever the manifest put into it."""
    if len(text) > 500:
        text = f"{text[:400]}...{text[-90:]}"
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def locate(root: Map, path: Sequence[str | int]) -> Position:
    """Return where something is said: a scalar's own place, a mapping's or list's key, or the nearest parent's."""
    node: Any = root
    at = root.at
    for step in path:
        if isinstance(node, Map) and step in node:
            node, at = node[str(step)], _place(node, str(step))
        elif isinstance(node, Seq) and (index := _index(node, step)) is not None:
            node, at = node[index], node.item_at[index]
        else:
            break
    return Position(*at)


def _place(node: Map, key: str) -> tuple[str, int, int]:
    value = node[key]
    return node.key_at[key] if value is None or isinstance(value, Map | Seq) else node.value_at[key]


def _index(node: Seq, step: str | int) -> int | None:
    if isinstance(step, int):
        return step if step < len(node) else None
    return node.index(step) if step in node else None


def _merged(trees: Sequence[Map], problems: list[Problem]) -> Map | None:
    """Return the trees as one; what two of them say differently is added to `problems`."""
    if len(trees) < 2:
        return trees[0] if trees else None
    root = trees[0]
    for tree in trees[1:]:
        for key, value in tree.items():
            if key.startswith("x-"):
                continue
            have = root.get(key)
            if value is BROKEN or have is BROKEN:
                continue
            if key not in root or _is_null(have):
                root[key], root.key_at[key], root.value_at[key] = value, tree.key_at[key], tree.value_at[key]
            elif key in _SECTIONS and isinstance(have, Map) and isinstance(value, Map):
                _merge_section(_SECTIONS[key], have, value, problems)
            elif key in ("version", "project") and isinstance(value, str) and isinstance(have, str):
                if value != have:
                    first = Position(*root.value_at[key])
                    what = f"{key} is {value} here and {have} at {first}"
                    problems.append(Problem(Position(*tree.value_at[key]), what, "files that are one agree in it"))
            elif not _is_null(value):
                problems.append(_twice(f"the key {key}", root.key_at[key], tree.key_at[key]))
    return root


def _merge_section(noun: str, have: Map, more: Map, problems: list[Problem]) -> None:
    for name, value in more.items():
        if name in have:
            problems.append(_twice(f"the {noun} {name}", have.key_at[name], more.key_at[name]))
        else:
            have[name] = value
            have.key_at[name] = more.key_at[name]
            have.value_at[name] = more.value_at[name]


def _twice(what: str, first: tuple[str, int, int], second: tuple[str, int, int]) -> Problem:
    return Problem(Position(*second), f"{what} is given twice, first at {Position(*first)}", "remove one")


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, Plain) and value in ("", "~", "null"))
