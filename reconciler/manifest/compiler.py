"""A compiler for the part of JSON Schema that manifests use: one walk that checks a tree, types it and explains.

jsonschema takes a hundred times as long, and can't say places. A test holds its verdict and this one's equal.
`Plain` scalars become what the schema wants of them: `version: 1.10` stays a text where a text is wanted, 1400 becomes
a number where a number is. yes, no, on and off become truth values where nothing but one is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import checks
from .checks import CLASSES, INVALID, Check, Schema, Walk, ecma
from .tree import BROKEN, Map, Place, Plain, Seq, core

_ANNOTATIONS = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "format"),
    *("patternErrorMessage", "errorMessage", "markdownDescription", "$schema", "$id", "$defs"),
}

_KEYWORDS = {
    *("type", "enum", "const", "pattern", "minLength", "maxLength", "minimum", "maximum", "items", "minItems"),
    *("maxItems", "uniqueItems", "properties", "required", "additionalProperties", "patternProperties"),
    *("propertyNames", "minProperties", "dependentRequired", "oneOf", "not", "$ref"),
}


_KNOWN_BY_NAME = ("service", "host")
"""What is kept also where something that it needs is missing, so that the rest of it is looked at."""


def compiled(schema: Schema, defs: Mapping[str, Check] | None = None) -> Check:
    """Return the check of a schema. `defs` are the checks that its "#/$defs/NAME" stand for."""
    defs = {} if defs is None else defs
    if "$ref" in schema:
        return _reference(schema["$ref"].removeprefix("#/$defs/"), defs)
    if not _is_ours(schema):
        return _foreign(schema)
    types = checks.types_of(schema)
    settle = checks.settling(schema, types)
    inner: dict[type, Check] = {}
    makers = {
        Map: _object,
        Seq: _array,
        str: checks.string,
        int: checks.number,
        float: checks.number,
        bool: checks.single,
        type(None): checks.single,
    }
    for kind in types:
        for one in CLASSES[kind]:
            inner[one] = makers[one](schema, defs)

    def check(value: Any, at: Place, key: str, walk: Walk) -> Any:
        if value.__class__ is Plain:
            value = settle(value)
        found = inner.get(value.__class__)
        if found is None:
            return checks.wrong_type(schema, types, value, at, key, walk)
        return found(value, at, key, walk)

    return check


def _reference(name: str, defs: Mapping[str, Check]) -> Check:
    def check(value: Any, at: Place, key: str, walk: Walk) -> Any:
        return defs[name](value, at, key, walk)  # looked up late: it may not be compiled yet

    return check


def _is_ours(schema: Schema) -> bool:
    keys = schema.keys() - _ANNOTATIONS
    if not keys <= _KEYWORDS:
        return False
    if "not" in keys and schema["not"].keys() != {"enum"}:
        return False
    return all(one.keys() == {"required"} for one in schema.get("oneOf", ()))


def _array(schema: Schema, defs: Mapping[str, Check]) -> Check:
    item = compiled(schema["items"], defs) if "items" in schema else None
    unique = schema.get("uniqueItems", False)
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    allowed = checks.allowed_in(schema)

    def check(value: Seq, at: Place, key: str, walk: Walk) -> Any:
        if allowed is not None and not allowed(value, at, key, walk):
            return INVALID
        if len(value) < least or (most is not None and len(value) > most):
            walk.add(at, f"{key} has {len(value)} entries, and must have {checks.span_of(least, most)}")
            return INVALID
        if item is not None:
            _items(value, key, item, walk)
        if len(value) < least:  # what was wrong in it has been said
            return INVALID
        if unique:
            _unique(value, key, walk)
        return value

    return check


def _items(value: Seq, key: str, item: Check, walk: Walk) -> None:
    keep: list[int] = []
    for index, at in enumerate(value.item_at):
        if (typed := item(value[index], at, key, walk)) is not INVALID:
            value[index] = typed
            keep.append(index)
    if len(keep) < len(value):
        walk.refused.append((value, None))
        value[:] = [value[index] for index in keep]
        value.item_at = [value.item_at[index] for index in keep]


def _unique(value: Seq, key: str, walk: Walk) -> None:
    seen: list[Any] = []
    known: set[tuple[type, Any]] = set()
    keep: list[int] = []
    for index, one in enumerate(value):
        is_known = (type(one), one) in known if isinstance(one, str | int) else one in seen
        if is_known:
            from .words import shown

            walk.add(value.item_at[index], f"{key} names {shown(one)} twice", "remove one")
            continue
        keep.append(index)
        if isinstance(one, str | int):
            known.add((type(one), one))
        else:
            seen.append(one)
    if len(keep) < len(value):
        value[:] = [value[index] for index in keep]
        value.item_at = [value.item_at[index] for index in keep]


def _object(schema: Schema, defs: Mapping[str, Check]) -> Check:
    properties = {name: compiled(one, defs) for name, one in schema.get("properties", {}).items()}
    patterns = [(ecma(pattern), compiled(one, defs)) for pattern, one in schema.get("patternProperties", {}).items()]
    names = compiled(schema["propertyNames"], defs) if "propertyNames" in schema else None
    more = schema.get("additionalProperties", True)
    rest = compiled(more, defs) if isinstance(more, Mapping) else None
    whole = _whole_object(schema)
    choices = [one["required"][0] for one in schema.get("oneOf", ())]

    def check(value: Map, at: Place, key: str, walk: Walk) -> Any:
        drop: list[str] = []
        unknown: list[str] = []  # what was probably meant by unknown keys
        for name, one in value.items():
            found = properties.get(name)
            if names is not None:
                names(name, value.key_at[name], "the name", walk)  # what has a wrong name is known by it all the same
            if found is None:
                if any(search(name) for search, _ in patterns):
                    continue
                if rest is None:
                    if more is False:
                        unknown.append(meant := _unknown(name, schema, value.key_at[name], walk))
                        drop.append(name)
                        if meant in properties and meant not in value:
                            walk.refused.append((value, meant))
                    continue
                found = rest
            typed = found(one, value.value_at[name], name, walk)
            if typed is INVALID:
                drop.append(name)
                walk.refused.append((value, name))
            elif typed is not one:
                value[name] = typed
        sound = whole is None or whole(value, at, key, walk, unknown)
        if drop:
            for name in drop:
                value.pop(name, None)
            sound = sound and all(name in value for name in schema.get("required", ()))
            sound = sound and (not choices or any(name in value for name in choices))
        if not sound and schema.get("title") in _KNOWN_BY_NAME:
            walk.refused += [(value, name) for name in schema.get("required", ()) if name not in value]
            return value
        return value if sound else INVALID

    return check


def _whole_object(schema: Schema) -> Callable[[Map, Place, str, Walk, Sequence[str]], bool] | None:
    """Return the test of what a mapping as a whole must be, None where that is nothing.

    Its last argument are the keys that were probably meant by unknown ones: they are not said to be missing as well.
    """
    if not schema.keys() & {"required", "minProperties", "dependentRequired", "oneOf", "enum", "const", "not"}:
        return None
    from .words import listed

    required, least = schema.get("required", ()), schema.get("minProperties", 0)
    choice = [one["required"][0] for one in schema.get("oneOf", ())]
    title = schema.get("title", "")
    mend = schema.get("errorMessage", "")

    def test(value: Map, at: Place, key: str, walk: Walk, unknown: Sequence[str]) -> bool:
        count = len(walk.problems)
        for name in required:
            if name not in value and name not in unknown:
                walk.add(at, f"the {title or key} has no {name}", f"add {name}: ...")
        given = [name for name in choice if name in value]
        if len(value) < least:
            walk.add(at, f"{key} is empty", mend)
        elif choice and len(given) != 1 and (given or not unknown):
            several = f", not {listed(given, 'and')}" if given else ""
            walk.add(at, f"{key} takes one of {listed(choice)}{several}", mend)
        for name, needed in schema.get("dependentRequired", {}).items():
            if name in value and not all(one in value for one in needed):
                walk.add(value.key_at[name], f"{name} goes with {listed(needed, 'and')} only", "remove it")
        if choice and len(given) != 1:
            return False
        return len(walk.problems) == count and all(name in value for name in required)

    return test


def _unknown(name: str, schema: Schema, at: Place, walk: Walk) -> str:
    """Say that there is no such key, and return the one that was probably meant."""
    from .unknown import unknown_key

    what, mend = unknown_key(name, schema)
    walk.add(at, what, mend)
    return mend.removeprefix("did you mean ").removesuffix("?")


def _foreign(schema: Schema) -> Check:
    """Return the check of a driver's schema that uses more of JSON Schema than is compiled here."""

    def check(value: Any, at: Place, key: str, walk: Walk) -> Any:
        import jsonschema

        if value is BROKEN:
            return INVALID
        value = _settled(value)
        for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
            walk.add(at, f"{key}: {error.message}")
            return INVALID
        return value

    return check


def _settled(value: Any) -> Any:
    if isinstance(value, Plain):
        return core(value)
    if isinstance(value, Map):
        for key in value:
            value[key] = _settled(value[key])
    elif isinstance(value, Seq):
        value[:] = [_settled(one) for one in value]
    return value
