"""Values as JSON and back: one form for reports, for drivers in other languages, and for the schemas of both.

All follows from the dataclasses' own types: a field that joins one is written, read and in the schemas from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from .firewall import Zone
from .resources import Address, BridgeVlan, FdbEntry, Link, Neighbour, Route

Json: TypeAlias = "bool | int | float | str | Mapping[str, Json] | Sequence[Json] | None"

YIELDED: Mapping[str, type[Any]] = {
    **{kind.KIND: kind for kind in (Link, Address, Route, Neighbour, FdbEntry, BridgeVlan)},
    "zone": Zone,
}
"""What a driver in another language can yield, by the word for it."""

_NAME = {"pattern": r"^[^\s/:%]{1,15}$"}
_MAC = {"pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"}
_MTU = {"minimum": 68, "maximum": 65535}
_MODE = {"enum": ["nat", "routed", "isolated"]}
_MORE: Mapping[tuple[str, str], Mapping[str, Any]] = {
    **{(kind, "name"): _NAME for kind in ("Link", "Peer")},
    **{(kind, "mac"): _MAC for kind in ("Link", "Peer", "FdbEntry", "Neighbour")},
    **{(kind, "mtu"): _MTU for kind in ("Link", "Peer")},
    ("Link", "path"): {"pattern": "^[^;\\s]+$"},
    ("Zone", "interface"): _NAME,
    ("Zone", "mode_ipv4"): _MODE,
    ("Zone", "mode_ipv6"): _MODE,
    ("Route", "type"): {"enum": ["unicast", "blackhole", "unreachable", "prohibit"]},
    ("Route", "metric"): {"minimum": 0, "maximum": 4294967295},
    ("BridgeVlan", "vid"): {"minimum": 1, "maximum": 4094},
}
"""What a type does not say of a field, as JSON Schema does, by class and field."""

_UNSAID = {("Link", "tags"), ("Route", "shared"), ("Zone", "seal")}
"""Fields that no driver in another language gives: netapply does."""

_NOUNS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def plain(value: object) -> Json:
    """Return a value as JSON has it: fields by their names, mappings in the order of their keys, null for None."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): plain(value[key]) for key in sorted(value, key=str)}
        case tuple() if names := getattr(value, "_fields", ()):
            return {name: plain(getattr(value, name)) for name in names}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _ if is_dataclass(value):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        case _:
            return str(value)


def written(one: Any) -> Json:
    """Return an object in the form from which `Reading.object` makes it again."""
    cls: Any = type(one)
    return {name: plain(getattr(one, name)) for name in members(cls)}


class Form(NamedTuple):
    """What a value looks like: its types in JSON, `item` of a list or an object, `cls` that an object makes, the
    further `rules` of its schema."""

    types: tuple[str, ...]
    item: Form | None = None
    cls: Any = None
    rules: Mapping[str, Any] = {}


@cache
def form(hint: Any) -> Form:
    """Return the form of a type: texts, numbers, truth values, None, mappings, tuples, and classes made of them."""
    simple = {str: "string", int: "integer", bool: "boolean", type(None): "null"}
    if hint in simple:
        return Form((simple[hint],))
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        parts = [form(one) for one in inner]
        item = next((part.item for part in parts if part.item), None)
        cls = next((part.cls for part in parts if part.cls), None)
        return Form(tuple(kind for part in parts for kind in part.types), item, cls)
    if origin is not None and issubclass(origin, Mapping):
        return Form(("object",), form(inner[1]))
    if origin is tuple:
        return Form(("array",), form(inner[0]))
    if isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields")):
        return Form(("object",), cls=hint)
    raise TypeError(f"{hint} has no form in JSON")


@cache
def members(cls: Any) -> Mapping[str, tuple[Form, bool]]:
    """Return the fields of a class: their forms, and whether they must be given."""
    hints = get_type_hints(cls)
    if is_dataclass(cls):
        needed = {one.name: one.default is MISSING and one.default_factory is MISSING for one in fields(cls)}
    else:
        needed = {name: name not in cls._field_defaults for name in cls._fields}
    needed = {name: must for name, must in needed.items() if (cls.__name__, name) not in _UNSAID}
    rules = {name: _MORE.get((cls.__name__, name), {}) for name in needed}
    return {name: (form(hints[name])._replace(rules=rules[name]), must) for name, must in needed.items()}


def schema(one: Form) -> dict[str, Any]:
    """Return the JSON Schema of a form. Classes are references to "#/$defs/NAME"."""
    result: dict[str, Any] = {"type": list(one.types) if len(one.types) > 1 else one.types[0], **one.rules}
    if "enum" in result:
        del result["type"]
    if one.cls:
        reference = {"$ref": f"#/$defs/{one.cls.__name__}"}
        return {"oneOf": [reference, {"type": "null"}]} if "null" in one.types else reference
    if one.item:
        result["items" if "array" in one.types else "additionalProperties"] = schema(one.item)
    return result


def class_schema(cls: Any) -> dict[str, Any]:
    """Return the JSON Schema of the objects that a class is read from; what it is for is its docstring."""
    found = members(cls)
    return {
        "description": " ".join((cls.__doc__ or "").split()),
        "type": "object",
        "properties": {name: schema(one) for name, (one, _) in found.items()},
        "required": [name for name, (_, must) in found.items() if must],
        "additionalProperties": False,
    }


class Reading:
    """What was found wrong while JSON was read: a line each, that says where, what, and what mends it."""

    __slots__ = ("faults",)

    def __init__(self) -> None:
        self.faults: list[str] = []

    def fault(self, at: str, what: str, mend: str = "") -> None:
        self.faults.append(f"{at or 'the reply'} {what}" + (f"; {mend}" if mend else ""))

    def value(self, one: Form, value: Any, at: str) -> Any:
        """Return the value that JSON means; what is wrong is noted, and means something or other."""
        from .manifest.words import listed, shown

        if one.cls and isinstance(value, Mapping):
            return self.object(one.cls, value, at)
        if isinstance(value, float) and value.is_integer() and "integer" in one.types:
            value = int(value)  # JSON knows no difference
        if _kind(value) not in one.types:
            self.fault(at, f"is {shown(value)}", f"it must be {listed([_NOUNS[kind] for kind in one.types])}")
        elif wrong := _broken(one.rules, value):
            self.fault(at, f"is {shown(value)}", wrong)
        elif isinstance(value, str) and not _is_text(value):
            self.fault(at, f"is {shown(value)}", "half a surrogate pair is no letter")
        elif isinstance(value, list):
            return tuple(self.value(one.item or form(str), each, f"{at}[{place}]") for place, each in enumerate(value))
        elif isinstance(value, Mapping):
            return {key: self.value(one.item or form(str), each, f"{at}.{key}") for key, each in value.items()}
        return value

    def object(self, cls: Any, value: Mapping[str, Any], at: str) -> Any:
        """Return the object of a class that JSON means; None if there is something wrong with it."""
        known, count = members(cls), len(self.faults)
        self.keys(value, known, [name for name, (_, must) in known.items() if must], at)
        read = {key: self.value(known[key][0], each, f"{at}.{key}") for key, each in value.items() if key in known}
        return cls(**read) if len(self.faults) == count else None

    def keys(self, value: Mapping[str, Any], known: Mapping[str, Any], needed: Sequence[str], at: str) -> None:
        """Note the keys that nobody knows, and those that are missing."""
        from .manifest.words import did_you_mean, listed

        for key in value:
            if key not in known:
                mend = did_you_mean(key, known) or f"there are {listed(known, 'and')}"
                self.fault(at, f"has a key {key!r} that means nothing", mend)
        for key in needed:
            if key not in value:
                self.fault(at, f"has no {key}", "it must have one")


def _kind(value: Any) -> str:
    kinds = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "number")


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _broken(rules: Mapping[str, Any], value: Any) -> str:
    """Return what a value must be and is not, by the further rules of its schema; empty where it is."""
    from .manifest.words import listed

    if value is None:
        return ""
    if "enum" in rules and value not in rules["enum"]:
        return f"it must be {listed(rules['enum'])}"
    if "pattern" in rules:
        from .manifest.checks import ecma

        return "" if ecma(rules["pattern"])(value) else f"it must match {rules['pattern']}"
    if "minimum" in rules and not rules["minimum"] <= value <= rules["maximum"]:
        return f"it must be between {rules['minimum']} and {rules['maximum']}"
    return ""
