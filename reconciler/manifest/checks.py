"""Checks of single values: what type a scalar without quotes is meant to be, and whether it is one that is allowed.

What is made of lists and mappings of them is `reconciler.manifest.compiler`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..errors import Position, Problem
from .tree import BROKEN, Map, Place, Plain, Seq, core

Schema: TypeAlias = Mapping[str, Any]

INVALID: Any = object()
"""What a check returns for a value that the tree must not keep."""


class Walk:
    """What is found on one walk: the problems, and what was `refused`: values by mapping and key, a list's items.

    `options` are the checks of driver_opts by driver, None for one that there is not.
    """

    __slots__ = ("options", "problems", "refused")

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.refused: list[tuple[Map | Seq, str | None]] = []
        self.options: dict[str, Check | None] = {}

    def add(self, at: Place, what: str, mend: str = "") -> None:
        self.problems.append(Problem(Position(*at), what, mend))


Check: TypeAlias = Callable[[Any, Place, str, Walk], Any]
"""(value, its place, the key that it is under, walk) -> the typed value, or INVALID."""

CLASSES: dict[str, tuple[type, ...]] = {
    "object": (Map,),
    "array": (Seq,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

_NOUNS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

_TRUTH = {"yes": True, "on": True, "no": False, "off": False}


def ecma(pattern: str) -> Callable[[str], object]:
    """Return the search for a pattern in which $ is the very end, as in ECMA 262, and not before a last newline too."""
    return re.compile(re.sub(r"(?<!\\)\$(?=$|\))", r"\\Z", pattern)).search


def types_of(schema: Schema) -> tuple[str, ...]:
    types = schema.get("type")
    if types is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is None:
            return tuple(CLASSES)
        return tuple(dict.fromkeys(kind for value in values for kind, of in CLASSES.items() if type(value) in of))
    return (types,) if isinstance(types, str) else tuple(types)


def settling(schema: Schema, types: Sequence[str]) -> Callable[[Plain], Any]:
    """Return the function that makes of a scalar without quotes what the schema wants."""
    texts = {value for value in schema.get("enum", ()) if isinstance(value, str)}
    only_truth = "boolean" in types and "string" not in types
    untyped = len(types) == len(CLASSES)

    def settle(value: Plain) -> Any:
        text = str(value)
        if text in texts:
            return text
        meant = core(text)
        if meant is None or untyped:
            return meant
        for kind in types:
            if kind == "string" and not texts:
                return text
            if type(meant) in CLASSES[kind]:
                return meant
        if only_truth:
            return _TRUTH.get(text.lower(), text if isinstance(meant, float) else meant)
        return text if isinstance(meant, float) or "string" in types else meant

    return settle


def wrong_type(schema: Schema, types: Sequence[str], value: Any, at: Place, key: str, walk: Walk) -> Any:
    if value is BROKEN:
        return INVALID
    from .words import listed, shown

    if value is None:
        walk.add(at, f"{key} has no value", "give it one, or remove the line")
        return INVALID
    mend = schema.get("errorMessage", "")
    if isinstance(value, str) and not mend:
        meant = core(value)
        if type(meant) is not str and any(type(meant) in CLASSES[kind] for kind in types):
            mend = "write it without quotes"
    values = schema.get("enum")
    nouns = dict.fromkeys(map(str, values)) if values else [_NOUNS[kind] for kind in types if kind != "null"]
    walk.add(at, f"{key} must be {listed(nouns)}, not {shown(value)}", mend)
    return INVALID


def allowed_in(schema: Schema) -> Callable[[Any, Place, str, Walk], bool] | None:
    """Return the test for enum, const and not-enum, None where there is none."""
    if not schema.keys() & {"enum", "const", "not"}:
        return None
    from .words import did_you_mean, listed, shown

    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    typed = {(type(value), value) for value in values} if values is not None else None
    barred = {(type(value), value) for value in schema.get("not", {}).get("enum", ())}

    def test(value: Any, at: Place, key: str, walk: Walk) -> bool:
        if typed is not None and (type(value), value) not in typed:
            texts = [one for one in values or () if isinstance(one, str)]
            mend = did_you_mean(value, texts) if isinstance(value, str) else ""
            walk.add(at, f"{key} must be {listed(dict.fromkeys(map(str, values or ())))}, not {shown(value)}", mend)
            return False
        if (type(value), value) in barred:
            walk.add(at, f"{key} can't be {shown(value)}")
            return False
        return True

    return test


def single(schema: Schema, defs: Mapping[str, Check]) -> Check:
    allowed = allowed_in(schema)

    def check(value: Any, at: Place, key: str, walk: Walk) -> Any:
        return value if allowed is None or allowed(value, at, key, walk) else INVALID

    return check


def string(schema: Schema, defs: Mapping[str, Check]) -> Check:
    allowed = allowed_in(schema)
    search = ecma(schema["pattern"]) if "pattern" in schema else None
    phrase = schema.get("patternErrorMessage") or f"which does not match {schema.get('pattern')}"
    least, most = schema.get("minLength", 0), schema.get("maxLength")

    def check(value: str, at: Place, key: str, walk: Walk) -> Any:
        if allowed is not None and not allowed(value, at, key, walk):
            return INVALID
        if search is not None and not search(value):
            from .words import shown

            walk.add(at, f"{key} is {shown(value)}, {phrase}")
            return INVALID
        if len(value) < least or (most is not None and len(value) > most):
            walk.add(at, f"{key} is {len(value)} letters long, and must be {span_of(least, most)}")
            return INVALID
        return value

    return check


def number(schema: Schema, defs: Mapping[str, Check]) -> Check:
    allowed = allowed_in(schema)
    least, most = schema.get("minimum"), schema.get("maximum")

    def check(value: Any, at: Place, key: str, walk: Walk) -> Any:
        if allowed is not None and not allowed(value, at, key, walk):
            return INVALID
        if (least is not None and value < least) or (most is not None and value > most):
            walk.add(at, f"{key} is {value}, and must be {span_of(least, most)}")
            return INVALID
        return value

    return check


def span_of(least: Any, most: Any) -> str:
    if most is None:
        return f"{least} at least"
    return f"{most} at most" if least is None else f"between {least} and {most}"
