"""The schema of manifests with drivers' options composed in: compiled for loading, and published for editors.

`python -m reconciler.manifest.schema > schemas/manifest.schema.json` renews the published one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from .checks import INVALID, Check, Schema, Walk
from .compiler import compiled
from .core import CORE
from .tree import Map, Place


def options_schema(driver: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a driver's driver_opts: those options, and no others."""
    return {
        "title": f"driver_opts of {driver}",
        "description": f"Options of the driver {driver}.",
        "type": ["object", "null"],
        "properties": dict(options),
        "additionalProperties": False,
    }


def published(drivers: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the schema for editors, with the options of the drivers of these names; None: of all that are installed.

    An editor sees a manifest before its variables are replaced: a text with one in it is good wherever a scalar is.
    """
    schema: dict[str, Any] = _with_variables(composed(drivers))
    return {**schema, "$defs": {**schema["$defs"], "variable": _VARIABLE}}


_VARIABLE = {
    "title": "variable",
    "description": "A text with a variable in it: what it will be is not known yet.",
    "type": "string",
    "pattern": r"\$\{",
    "patternErrorMessage": "nor a text with a ${VARIABLE}",
}
_SAID = ("title", "description", "default", "examples", "deprecated")
_LIMITS = {"enum", "const", "pattern", "minLength", "maxLength", "not", "anyOf", "oneOf"}
"""Keywords by which a schema that takes texts may refuse some."""


def _with_variables(schema: Any) -> Any:
    """Return a schema that takes a text with a variable wherever it takes a scalar, keys aside."""
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    for key in {"items", "additionalProperties", "then"} & schema.keys():
        result[key] = _with_variables(schema[key])
    for key in {"properties", "$defs"} & schema.keys():
        result[key] = {name: _with_variables(one) for name, one in schema[key].items()}
    if "allOf" in schema:
        result["allOf"] = [_with_variables(one) for one in schema["allOf"]]
    if not _refuses_texts(schema):
        return result
    said = {key: result.pop(key) for key in _SAID if key in schema}
    return {**said, "anyOf": [result, {"$ref": "#/$defs/variable"}]}


def _refuses_texts(schema: Schema) -> bool:
    """Whether a schema takes scalars, but not every text."""
    types = schema.get("type", ())
    types = {types} if isinstance(types, str) else set(types)
    if types and types <= {"object", "array", "null"}:
        return False
    return not _LIMITS.isdisjoint(schema) or (bool(types) and "string" not in types)


def composed(drivers: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the whole schema as it holds once variables are replaced; `drivers` as for `published`."""
    from ..drivers import available, find

    names = available() if drivers is None else tuple(drivers)
    schema = copy.deepcopy(CORE)
    network = schema["$defs"]["network"]
    network["properties"]["driver"]["enum"] = list(names)
    network["allOf"] = []
    for name in names:
        driver = find(name)
        if driver is None:
            raise ValueError(f"there is no driver {name}")
        is_it = {"properties": {"driver": {"const": name}}}
        network["allOf"].append(
            {
                "if": is_it if name == "bridge" else {**is_it, "required": ["driver"]},
                "then": {"properties": {"driver_opts": options_schema(name, driver.OPTIONS)}},
            }
        )
    return schema


@cache
def checker() -> Check:
    """Return the check of whole manifests, each network's driver_opts by its driver's schema."""
    defs: dict[str, Check] = {}
    for name, schema in CORE["$defs"].items():
        defs[name] = compiled(schema, defs)
    defs["network"] = _with_options(defs["network"])
    return compiled(CORE, defs)


def _with_options(plain: Check) -> Check:
    """Return the check of a network that also looks at its driver, and at driver_opts as that one has them."""
    from .. import drivers

    def options(name: str, walk: Walk) -> Check | None:
        if name not in walk.options:
            driver = drivers.find(name)
            walk.options[name] = None if driver is None else compiled(options_schema(name, driver.OPTIONS))
        return walk.options[name]

    def check(value: Any, at: Place, key: str, walk: Walk) -> Any:
        count = len(walk.refused)
        value = plain(value, at, key, walk)
        if not isinstance(value, Map):
            return value
        if any(of is value and name == "driver" for of, name in walk.refused[count:]):  # whose options is not known
            value.pop("driver_opts", None)
            return value
        name = value.get("driver", "bridge")
        found = options(name, walk)
        if found is None:
            from .words import did_you_mean, listed, shown

            known = drivers.available()
            mend = did_you_mean(name, known) or f"there are {listed(known, 'and')}"
            walk.add(value.value_at["driver"], f"there is no driver {shown(name)}", mend)
            value.pop("driver")
            value.pop("driver_opts", None)
            walk.refused.append((value, "driver"))
        elif "driver_opts" in value:
            opts = found(value["driver_opts"], value.value_at["driver_opts"], "driver_opts", walk)
            if opts is INVALID:
                value.pop("driver_opts")
                walk.refused.append((value, "driver_opts"))
            else:
                value["driver_opts"] = opts
        return value

    return check


if __name__ == "__main__":
    import json

    from ..drivers import built_in

    print(json.dumps(published(built_in()), indent=2, ensure_ascii=False))
