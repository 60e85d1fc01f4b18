"""docker-plugin: a libnetwork remote driver, as Docker's network plugins are, makes the network; netapply gives the
addresses and puts the plugin's link into the container."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Endpoint, Network, Subnet
from ..resources import HOST, Delegated, Option, Resource
from . import Complaint, Traits

SUMMARY = "a network plugin of Docker's (a libnetwork remote driver) makes the network; netapply gives the addresses"
TRAITS = Traits()

_OPTS = {"type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "plugin": {
        "type": "string",
        "pattern": "^[a-z0-9][a-zA-Z0-9_.-]{0,62}$",
        "patternErrorMessage": "not the name of a plugin, which is that of its socket",
        "examples": ["weave"],
        "description": "The plugin's name: NAME.sock in /run/docker/plugins, or NAME.spec or NAME.json in "
        "/etc/docker/plugins or /usr/lib/docker/plugins.",
    },
    "opts": {**_OPTS, "description": "The plugin's own options for the network, as of `docker network create -o`."},
    "timeout": {
        "type": "integer",
        "minimum": 1,
        "maximum": 600,
        "default": 30,
        "description": "Seconds that one call of the plugin may take.",
    },
}
ENDPOINT_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "opts": {**_OPTS, "description": "The plugin's own options for the container."},
}

LABEL = "com.docker.network"
"""Where the keys of libnetwork's options begin (netlabel/labels.go)."""


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    if "plugin" not in network.driver_opts:
        yield Complaint(("driver_opts",), "a docker-plugin network needs a plugin", "set driver_opts.plugin")
    for key in ("external", "allow"):
        if getattr(network, key):
            yield Complaint((key,), f"a network of a plugin is the plugin's to connect, so no {key}", "remove it")
    if network.mtu is not None:
        yield Complaint(("mtu",), "the MTU is the plugin's to set", "give it among driver_opts.opts")


def lower(network: Network) -> Iterator[Resource]:
    tags = (*("protect",) * network.protect, f"timeout={network.options.get('timeout', 30)}")
    plugin = {"plugin": network.options["plugin"]}
    yield Delegated(
        path=network.name,
        protocol="docker-plugin",
        sandbox=HOST,
        request=_text({**plugin, "create": _creation(network)}),
        tags=tags,
    )
    for endpoint in network.endpoints:
        yield Delegated(
            path=endpoint.path,
            protocol="docker-plugin",
            sandbox=endpoint.sandbox,
            interface=endpoint.interface_name,
            request=_text({**plugin, **_attachment(network, endpoint)}),
            after=(network.name,),
            tags=tags,
            addresses=endpoint.addresses,
        )


def _creation(network: Network) -> dict[str, Any]:
    """Return the body of NetworkDriver.CreateNetwork."""
    options: dict[str, Any] = {
        f"{LABEL}.enable_ipv4": network.ipv4,
        f"{LABEL}.enable_ipv6": network.ipv6,
        f"{LABEL}.generic": _opts(network.options),
    }
    if network.internal:
        options[f"{LABEL}.internal"] = True
    return {
        "NetworkID": _id(network.project, network.name),
        "Options": options,
        "IPv4Data": [_pool(subnet) for subnet in network.subnets if subnet.family == 4],
        "IPv6Data": [_pool(subnet) for subnet in network.subnets if subnet.family == 6],
    }


def _pool(subnet: Subnet) -> dict[str, str]:
    gateway = {"Gateway": subnet.gateway_address} if subnet.gateway_address else {}
    return {"AddressSpace": "LocalDefault", "Pool": subnet.cidr, **gateway}


def _attachment(network: Network, endpoint: Endpoint) -> dict[str, Any]:
    """Return the body of CreateEndpoint, the options of Join, and what netapply does with the link that Join names."""
    first = {
        family: next((one for one in endpoint.addresses if (":" in one) == family), "") for family in (False, True)
    }
    defaults = [route.destination for route in endpoint.routes if route.destination in ("0.0.0.0/0", "::/0")]
    options = {f"{LABEL}.endpoint.exposedports": [], f"{LABEL}.portmap": [], **_opts(endpoint.driver_opts)}
    return {
        "create": {
            "NetworkID": _id(network.project, network.name),
            "EndpointID": _id(network.project, network.name, endpoint.container),
            "Interface": {"Address": first[False], "AddressIPv6": first[True], "MacAddress": endpoint.mac},
            "Options": options,
        },
        "join": options,
        "mac": endpoint.mac,
        "addresses": list(endpoint.addresses),
        "defaults": defaults,
        "routes": [
            [one.destination, one.via, one.metric]
            for one in endpoint.routes
            if one.type == "unicast" and one.destination not in defaults
        ],
        "sysctls": dict(endpoint.sysctls),
    }


def _opts(options: Mapping[str, Option]) -> dict[str, str]:
    """Return a plugin's own options, which are texts."""
    found = json.loads(str(options.get("opts", "{}")))
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}


def _id(*names: str) -> str:
    """Return 64 hexadecimal digits, the same in every run and on every host: plugins find by them what they made."""
    return sha256("\0".join(("netapply", *names)).encode()).hexdigest()


def _text(request: Mapping[str, Any]) -> str:
    return json.dumps(request, sort_keys=True, ensure_ascii=False)
