"""Options of drivers that are a mapping or a list: in the model they are JSON, so that every option is one value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..resources import Option
from .tree import Map, Plain, Seq, core

_CLASSES = {"object": dict, "array": list}


def option(value: Any) -> Option:
    """Return an option of the tree as the model has it: a mapping or a list as JSON with sorted keys."""
    if not isinstance(value, Map | Seq):
        return value  # type: ignore[no-any-return]
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Plain):
        return core(value)
    if isinstance(value, Map):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, Seq) else value


def is_nested(schema: Mapping[str, Any]) -> bool:
    """Whether the schema of an option takes a mapping or a list."""
    return not _types(schema).isdisjoint(_CLASSES)


def fits(schema: Mapping[str, Any], value: Option) -> bool:
    """Whether an option, as the model has it, is of one of the types that such a schema takes; no more is looked at."""
    if not isinstance(value, str):
        return ("boolean" if isinstance(value, bool) else "integer") in _types(schema)
    if "string" in _types(schema):
        return True
    try:
        meant = json.loads(value)
    except ValueError:
        return False
    return isinstance(meant, tuple(of for name, of in _CLASSES.items() if name in _types(schema)))


def _types(schema: Mapping[str, Any]) -> set[str]:
    types = schema.get("type", ())
    return {types} if isinstance(types, str) else set(types)
