"""Drivers in any language: an executable that is asked on standard input and answers on standard output, in JSON.

One process for each question, three kinds of questions: `describe`, once a run; `check` and `lower`, once for each
network. schemas/driver-request.schema.json and driver-reply.schema.json say what goes in and out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, get_type_hints

from .. import wire
from ..drivers import Complaint, Traits
from ..errors import DriverError
from ..firewall import Zone
from ..host import executables as host
from ..lowering import uppers
from ..lowering.addressing import addressing, tags
from ..manifest.model import EndpointSpec, NetworkSpec
from ..naming import bridge_name, mac_address, veth_name
from ..networks import Endpoint, Network
from ..resources import Link, Option, Resource
from ..values import dataclass
from . import contract

VERSION = 1
"""Of the protocol: moves when a driver for the one before would go wrong. New keys in requests don't move it."""

TIMEOUT = 5.0
LONGEST = 60
"""Seconds that an answer may take, unless the driver asks for more, and the most that it can ask for."""


@dataclass(slots=True)
class ExecutableDriver:
    """A driver that is a file; see `reconciler.drivers.Driver` for the contract."""

    file: host.Executable
    timeout: float
    SUMMARY: str
    TRAITS: Traits
    OPTIONS: Mapping[str, Mapping[str, Any]]

    def check(self, network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
        reply = self._ask(check_request(network, endpoints), f"check of network {network.name}")
        yield from reply.listed("complaints", lambda value, at: reply.object(Complaint, value, at))

    def lower(self, network: Network) -> Iterator[Resource | Zone]:
        settled = replace(network, options={**_defaults(self.OPTIONS), **network.options})
        reply = self._ask(lower_request(settled), f"lower of network {network.name}")
        if network.parent:
            yield from uppers.made(network, network.parent)
        for one in reply.listed("resources", reply.resource):
            yield replace(one, tags=tags(network)) if isinstance(one, Link) else one

    def _ask(self, request: wire.Json, doing: str) -> Reply:
        return _asked(self.file, request, doing, self.timeout)


def load(name: str) -> ExecutableDriver | None:
    """Return the driver that an executable of that name is, None if there is none.

    Raises HostLacks for one that must not be run, DriverError for one that does not say what it is.
    """
    found = host.executable(name)
    return None if found is None else _described(found)


@lru_cache(maxsize=64)
def _described(file: host.Executable) -> ExecutableDriver:
    """Ask a driver what it is. That is asked once, for as long as the file is the same."""
    reply = _asked(file, {"netapply": VERSION, "request": "describe"}, "describe", TIMEOUT)
    document, known = reply.document, ("netapply", "summary", "traits", "options", "timeout")
    reply.keys(document, dict.fromkeys(known), known[:2], "")
    if document.get("netapply", VERSION) != VERSION:
        what = f"is {document['netapply']!r}, and this netapply speaks version {VERSION}"
        reply.fault("netapply", what, "use a driver for that version")
    timeout = document.get("timeout", TIMEOUT)
    if type(timeout) not in (int, float) or not 0 < timeout <= LONGEST:
        reply.fault("timeout", f"is {timeout!r}", f"it must be seconds, up to {LONGEST}")
    options = document.get("options", {})
    if not isinstance(options, dict):
        reply.fault("options", "is no object", "it must have the JSON Schema of each option by its name")
        options = {}
    traits = _traits(document.get("traits", {}), _defaults(options), reply)
    reply.settle()
    return ExecutableDriver(file, timeout, document["summary"], traits, options)


class Reply(wire.Reading):
    """What a driver has answered, and what is wrong with that."""

    __slots__ = ("document", "label")

    def __init__(self, label: str, output: bytes) -> None:
        super().__init__()
        self.label, self.document = label, dict[str, Any]()
        try:
            document = json.loads(output)
        except (ValueError, RecursionError) as failure:
            what = f"printed no JSON: {failure}" if output.strip() else "printed nothing"
            raise DriverError(f"{label}: it {what}; print one object, and nothing else") from failure
        if not isinstance(document, dict):
            raise DriverError(f"{label}: it printed no JSON object; print one object, and nothing else")
        self.document = document
        if isinstance(said := document.get("error"), str):
            raise DriverError(f"{label}: it says: {said}")

    def settle(self) -> None:
        """Raise DriverError if anything is wrong."""
        if self.faults:
            raise DriverError(contract.told(self.label, self.faults))

    def listed(self, key: str, read: Callable[[Any, str], Any]) -> list[Any]:
        """Return the values of the list that is all of the reply. Raises DriverError for the wrong ones."""
        self.keys(self.document, {key: None}, [key], "")
        values = self.document.get(key, [])
        if not isinstance(values, list):
            self.fault(key, "is no list", "it must be one")
            values = []
        found = []
        for place, value in enumerate(values):
            if isinstance(value, dict):
                found.append(read(value, f"{key}[{place}]"))
            else:
                self.fault(f"{key}[{place}]", "is no object", "it must be one")
        self.settle()
        return found

    def resource(self, value: Mapping[str, Any], at: str) -> Resource | Zone | None:
        """Return the resource or zone that an object with one key is: the key is its kind."""
        if len(value) != 1:
            self.fault(at, f"has {len(value)} keys", 'it must have one, the kind, such as {"link": {...}}')
            return None
        [(kind, inner)] = value.items()
        self.keys(value, wire.YIELDED, [], at)
        if kind not in wire.YIELDED:
            return None
        if not isinstance(inner, dict):
            self.fault(f"{at}.{kind}", "is no object", "it must be one")
            return None
        found: Resource | Zone | None = self.object(wire.YIELDED[kind], inner, f"{at}.{kind}")
        return found


def _asked(file: host.Executable, request: wire.Json, doing: str, timeout: float) -> Reply:
    output = host.run(file, json.dumps(request).encode() + b"\n", timeout, doing)
    return Reply(f"{file.label} at {doing}", output)


# Traits


def trait_forms() -> dict[str, wire.Form]:
    """Return the traits that are values, by name; those that are functions have forms of their own in JSON."""
    known = {one.name for one in fields(Traits)} - _FUNCTIONS.keys()
    hints = get_type_hints(Traits)
    return {name: wire.form(hints[name]) for name in sorted(known) if hints[name] in (bool, int)}


def _defaults(options: Mapping[str, Any]) -> dict[str, Option]:
    """Return what options are that the manifest does not say, as far as their schemas do."""
    return {name: one["default"] for name, one in options.items() if isinstance(one, dict) and "default" in one}


def _gateway(value: Any, defaults: Mapping[str, Option]) -> Callable[[Mapping[str, Option], int], bool]:
    """Return has_gateway: a truth value, or {"unless": {OPTION: [VALUE, ...]}}."""
    if isinstance(value, bool):
        return lambda options, family: value
    unless: Mapping[str, Sequence[Option]] = value["unless"]
    return lambda options, family: (
        not any(options.get(name, defaults.get(name)) in values for name, values in unless.items())
    )


def _host_link(value: Any, defaults: Mapping[str, Option]) -> Callable[[str, str, Mapping[str, Option]], str | None]:
    """Return host_link: whether the network's own link is in the host, named by the option name or as `link_name`."""
    if not value:
        return lambda project, network, options: None
    return lambda project, network, options: str(options.get("name") or bridge_name(project, network))


_FUNCTIONS: Mapping[str, Callable[[Any, Mapping[str, Option]], Callable[..., Any]]] = {
    "has_gateway": _gateway,
    "host_link": _host_link,
}

OPTION_SCHEMA = {"type": ["string", "integer", "boolean"]}
FUNCTION_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "has_gateway": {
        "description": "Whether there is a way out, so that endpoints get a default route: true, false, or always "
        "unless an option has one of some values.",
        "oneOf": [
            {"type": "boolean"},
            {
                "type": "object",
                "properties": {
                    "unless": {
                        "type": "object",
                        "additionalProperties": {"type": "array", "items": OPTION_SCHEMA},
                    }
                },
                "required": ["unless"],
                "additionalProperties": False,
            },
        ],
    },
    "host_link": {
        "description": "Whether the network has a link of its own in the host's namespace on which other networks may "
        "stand: named by the option name, else as link_name in the request.",
        "type": "boolean",
    },
}


def _traits(value: Any, defaults: Mapping[str, Option], reply: Reply) -> Traits:
    if not isinstance(value, dict):
        reply.fault("traits", "is no object", "it must be one")
        return Traits()
    forms = trait_forms()
    reply.keys(value, {**forms, **_FUNCTIONS}, [], "traits")
    given: dict[str, Any] = {
        name: reply.value(forms[name], one, f"traits.{name}") for name, one in value.items() if name in forms
    }
    for name, make in _FUNCTIONS.items():
        if name in value and _is_function(name, value[name]):
            given[name] = make(value[name], defaults)
        elif name in value:
            form = 'true, false or {"unless": {OPTION: [VALUE]}}' if name == "has_gateway" else "true or false"
            reply.fault(f"traits.{name}", "is not understood", f"it must be {form}")
    return Traits(**given)


def _is_function(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return True
    if name != "has_gateway" or not isinstance(value, dict) or value.keys() != {"unless"}:
        return False
    unless = value["unless"]
    return isinstance(unless, dict) and all(
        isinstance(values, list) and all(isinstance(one, str | int) for one in values) for values in unless.values()
    )


# Requests


def check_request(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> wire.Json:
    """Return the question what is wrong with a network as the manifest declares it."""
    asked = {"network": wire.plain(network), "endpoints": wire.plain(list(endpoints))}
    return {"netapply": VERSION, "request": "check", **asked}


def lower_request(network: Network) -> wire.Json:
    """Return the question what a settled network needs, with the names and MACs that netapply would derive for it."""
    whole = wire.plain(network)
    assert isinstance(whole, dict)
    more = {
        "link_name": bridge_name(network.project, network.name),
        "link_mac": mac_address(network.project, network.name),
        "parent_reference": network.parent.reference if network.parent else None,
        "endpoints": [_endpoint(network, endpoint) for endpoint in network.endpoints],
    }
    return {"netapply": VERSION, "request": "lower", "network": {**whole, **more}}


def _endpoint(network: Network, endpoint: Endpoint) -> wire.Json:
    whole = wire.plain(endpoint)
    assert isinstance(whole, dict)
    return {
        **whole,
        "path": endpoint.path,
        "sandbox": endpoint.sandbox,
        "ipv6": endpoint.ipv6,
        "outer_name": veth_name(network.project, endpoint.path),
        "outer_mac": mac_address(network.project, f"{endpoint.path}#outer"),
        "addressing": [{one.KIND: wire.written(one)} for one in addressing(endpoint)],
    }
