"""The JSON Schemas of what executables are asked and answer, published in schemas/.

`python -m reconciler.plugins.schemas request` and `... reply` print them; `make schemas` renews both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import wire
from ..drivers import Complaint, Traits
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Endpoint, Network
from .executables import FUNCTION_SCHEMAS, LONGEST, VERSION, trait_forms

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TEXT, _FLAG = {"type": "string"}, {"type": "boolean"}

DERIVED_NETWORK: dict[str, Any] = {
    "link_name": {**_TEXT, "description": "What netapply would call a link of the network in the host's namespace."},
    "link_mac": {**_TEXT, "description": "The MAC that netapply would give it."},
    "parent_reference": {
        "type": ["string", "null"],
        "description": "What a link that stands on the network's parent has as its `parent`.",
    },
    "endpoints": {"type": "array", "items": {"$ref": "#/$defs/Endpoint"}},
}
DERIVED_ENDPOINT: dict[str, Any] = {
    "path": {**_TEXT, "description": "The path of the endpoint's link: CONTAINER/NETWORK."},
    "sandbox": {**_TEXT, "description": "The sandbox that its inner end is in."},
    "ipv6": {**_FLAG, "description": "Whether it has an IPv6 address."},
    "outer_name": {**_TEXT, "description": "What netapply would call the outer end of a veth pair."},
    "outer_mac": {**_TEXT, "description": "The MAC that netapply would give that."},
    "addressing": {
        "description": "The endpoint's addresses and routes as resources, to be yielded as they are.",
        "type": "array",
        "items": {"type": "object"},
    },
}


def request() -> dict[str, Any]:
    """Return the schema of what a driver reads. All keys are always there; what it does not know, it ignores."""
    defs = {name: _open(schema) for name, schema in _definitions(NetworkSpec, EndpointSpec, Network)}
    for cls, more in ((Network, DERIVED_NETWORK), (Endpoint, DERIVED_ENDPOINT)):
        known = defs[cls.__name__]
        known["properties"] = {**known["properties"], **more}
        known["required"] = list(known["properties"])
    endpoints = {"type": "array", "items": {"$ref": "#/$defs/EndpointSpec"}}
    return {
        "$schema": _DRAFT,
        "$id": f"urn:netapply:schema:driver-request:{VERSION}",
        "title": "request to a driver",
        "description": "One JSON object on the standard input of an executable that is a netapply driver.",
        "oneOf": [
            _request("describe", "What are you?"),
            _request(
                "check",
                "What is wrong with this network, as the manifest declares it?",
                network={"$ref": "#/$defs/NetworkSpec"},
                endpoints=endpoints,
            ),
            _request("lower", "What does this network need, all of it settled?", network={"$ref": "#/$defs/Network"}),
        ],
        "$defs": defs,
    }


def _request(name: str, description: str, **more: Any) -> dict[str, Any]:
    properties = {"netapply": {"const": VERSION, "description": "Version of the protocol."}, "request": {"const": name}}
    return {
        "description": description,
        "type": "object",
        "properties": {**properties, **more},
        "required": [*properties, *more],
    }


def _open(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of objects that have all of the keys, and may have more."""
    result = {key: value for key, value in schema.items() if key != "additionalProperties"}
    return {**result, "required": list(schema["properties"])}


def reply() -> dict[str, Any]:
    """Return the schema of what a driver prints. Keys that it does not have are errors."""
    kinds = {kind: {"$ref": f"#/$defs/{cls.__name__}"} for kind, cls in wire.YIELDED.items()}
    one = {"type": "object", "properties": kinds, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    complaints = {"type": "array", "items": {"$ref": "#/$defs/Complaint"}}
    return {
        "$schema": _DRAFT,
        "$id": f"urn:netapply:schema:driver-reply:{VERSION}",
        "title": "reply of a driver",
        "description": "One JSON object on the standard output of an executable that is a netapply driver.",
        "oneOf": [
            _describing(),
            _reply("The answer to check: what is wrong, nothing as a rule.", "complaints", complaints),
            _reply("The answer to lower: all that the network needs.", "resources", {"type": "array", "items": one}),
            _reply("The driver can't answer, and says why.", "error", _TEXT),
        ],
        "$defs": dict(_definitions(Complaint, *wire.YIELDED.values())),
    }


def _reply(description: str, key: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": {key: schema},
        "required": [key],
        "additionalProperties": False,
    }


def _describing() -> dict[str, Any]:
    traits = {name: wire.schema(form) for name, form in trait_forms().items()} | {**FUNCTION_SCHEMAS}
    return {
        "description": "The answer to describe.",
        "type": "object",
        "properties": {
            "netapply": {"const": VERSION, "description": "Version of the protocol that the driver speaks."},
            "summary": {"type": "string", "minLength": 1, "description": "One line for `netapply drivers`."},
            "traits": {
                "description": " ".join((Traits.__doc__ or "").split()),
                "type": "object",
                "properties": traits,
                "additionalProperties": False,
            },
            "options": {
                "description": "The JSON Schema of each of driver_opts, by its name.",
                "type": "object",
                "additionalProperties": {"type": "object"},
            },
            "timeout": {
                "description": "Seconds that an answer may take (5).",
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": LONGEST,
            },
        },
        "required": ["netapply", "summary"],
        "additionalProperties": False,
    }


def _definitions(*classes: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the schemas of classes and of all that they are made of, by name, each once."""
    queue, seen = list(classes), set()
    while queue:
        cls = queue.pop(0)
        if cls in seen:
            continue
        seen.add(cls)
        yield cls.__name__, wire.class_schema(cls)
        for form, _ in wire.members(cls).values():
            queue += [part.cls for part in (form, form.item) if part and part.cls]


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps({"request": request, "reply": reply}[sys.argv[1]](), indent=2, ensure_ascii=False))
