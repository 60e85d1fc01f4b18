"""The schema of manifests: the one place that says what is allowed, drivers' options aside.

What is long of it is a module of its own (`*_schema.py`). `reconciler.manifest.schema` composes drivers' options in;
`reconciler.manifest.compiler` compiles it. Of a list of types the first that fits is what a value without quotes
becomes. `patternErrorMessage` and `errorMessage` are annotations of yaml-language-server's: what a value is not, and
what mends it.
"""

from __future__ import annotations

from typing import Any, Final

from . import dns_schema
from .endpoint_schema import ENDPOINT, MANY, RATE
from .port_schema import PORT
from .sandbox_schema import SANDBOX
from .service_schema import SERVICE, SERVICE_PORT

PROJECT: Final = "^[a-z0-9][a-z0-9_.-]{0,62}$"
"""What a project's name looks like."""

_NAME = {
    "type": "string",
    "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$",
    "patternErrorMessage": "not a name of letters, digits, _ . and - that begins with a letter or digit",
}
_PREFIX = {
    "type": "string",
    "pattern": "^[0-9A-Fa-f:.]+/[0-9]+$",
    "patternErrorMessage": "not a prefix such as 10.20.0.0/24 or fd00:20::/64",
}
_LABELS: dict[str, Any] = {
    "description": "Notes for people and tools; netapply does nothing with them. A mapping or a list of KEY=VALUE.",
    "type": ["object", "array", "null"],
    "additionalProperties": {
        "type": ["string", "number", "boolean", "null"],
        "description": "The label's value.",
    },
    "items": {"type": "string", "pattern": "^[^=]+(=|$)", "patternErrorMessage": "not of the form KEY=VALUE"},
}

_IPAM_CONFIG: dict[str, Any] = {
    "title": "ipam.config entry",
    "description": "One subnet of the network, and which of its addresses are for what.",
    "type": "object",
    "required": ["subnet"],
    "additionalProperties": False,
    "properties": {
        "subnet": {
            **_PREFIX,
            "description": "The prefix, such as 10.20.0.0/24; 0.0.0.0/24 or ::/64: one of that size from the pools.",
        },
        "ip_range": {**_PREFIX, "description": "The part of the subnet that addresses not pinned are taken from."},
        "gateway": {"type": "string", "description": "The address of the router in the subnet."},
        "aux_addresses": {
            "description": "Addresses by name that are others' and never given to a container.",
            "type": ["object", "null"],
            "additionalProperties": {"type": "string", "description": "The address."},
        },
    },
}

_ROUTE: dict[str, Any] = {
    "title": "route",
    "description": "A static route that the network's containers get.",
    "type": "object",
    "required": ["destination"],
    "additionalProperties": False,
    "properties": {
        "destination": {**_PREFIX, "description": "The prefix that is routed."},
        "via": {"type": "string", "description": "The next hop; left out, the destination is on the link itself."},
        "type": {
            "enum": ["unicast", "blackhole", "unreachable", "prohibit"],
            "default": "unicast",
            "description": "unicast: by the network; blackhole, unreachable, prohibit: nowhere, silently or with an "
            "ICMP error.",
        },
        "metric": {
            "type": "integer",
            "minimum": 0,
            "maximum": 4294967295,
            "description": "The route's priority: of two to one destination the lower one is taken.",
        },
    },
}

_NETWORK: dict[str, Any] = {
    "title": "network",
    "description": "A network; with nothing said, a bridge with a subnet from the pools.",
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "driver": {"type": "string", "default": "bridge", "description": "What the network is made of."},
        "driver_opts": {"type": ["object", "null"], "description": "The driver's own options."},
        "enable_ipv4": {"type": "boolean", "default": True, "description": "Whether containers have IPv4 addresses."},
        "enable_ipv6": {
            "type": "boolean",
            "description": "Whether containers have IPv6 addresses; left out, true where an IPv6 subnet is given.",
        },
        "internal": {
            "type": "boolean",
            "default": False,
            "description": "No way out or in: no default route, and the firewall drops both ways.",
        },
        "external": {
            "type": "boolean",
            "default": False,
            "description": "The network's link is somebody else's: it must exist, and is never changed or removed.",
        },
        "protect": {
            "type": "boolean",
            "default": False,
            "description": "Refuse every plan that would delete or replace the network or its endpoints.",
        },
        "mtu": {
            "type": "integer",
            "minimum": 68,
            "maximum": 65535,
            "description": "MTU in bytes; left out, that of the default route's link less the driver's overhead.",
        },
        "ipam": {
            "title": "ipam",
            "description": "The network's subnets.",
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "config": {
                    "description": "One entry for each subnet, of either family.",
                    "type": ["array", "null"],
                    "maxItems": MANY,
                    "items": {"$ref": "#/$defs/ipam_config"},
                }
            },
        },
        "allow": {
            "description": "Networks that this one may open connections to; they may only answer.",
            "type": ["array", "null"],
            "uniqueItems": True,
            "items": {"type": "string", "description": "The name of a network."},
        },
        "routes": {
            "description": "Static routes that the network's containers get.",
            "type": ["array", "null"],
            "items": {"$ref": "#/$defs/route"},
        },
        "no_default_route": {
            "type": "boolean",
            "default": False,
            "description": "Never let this network carry a container's default route.",
        },
        "metric": {
            "type": "integer",
            "minimum": 0,
            "maximum": 4294967295,
            "description": "The priority of the default route by this network.",
        },
        "labels": _LABELS,
    },
}

_CONTAINER: dict[str, Any] = {
    "title": "container",
    "description": "A container, and the networks that it is attached to.",
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "sandbox": {"$ref": "#/$defs/sandbox"},
        "host": {
            "type": "string",
            "description": "The host that the container is on, one of `hosts`; left out, there is one on every host.",
        },
        "networks": {
            "description": "The container's networks: a list of names, or a mapping from name to details.",
            "type": ["object", "array", "null"],
            "uniqueItems": True,
            "items": {"type": "string", "description": "The name of a network."},
            "additionalProperties": {"$ref": "#/$defs/endpoint"},
        },
        "dns": dns_schema.CONTAINER,
        "ports": {
            "description": "Ports of the host that lead to the container.",
            "type": ["array", "null"],
            "items": {"$ref": "#/$defs/port"},
        },
        "labels": _LABELS,
    },
}

_HOST: dict[str, Any] = {
    "title": "host",
    "description": "A machine that the manifest is applied on.",
    "type": "object",
    "required": ["address"],
    "additionalProperties": False,
    "properties": {
        "address": {
            "type": "string",
            "description": "The address by which the other hosts reach it, IPv4 or IPv6: one of its own.",
        },
        "public_key": {
            "type": "string",
            "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
            "patternErrorMessage": "not a public key of WireGuard, which `netapply keys` prints",
            "description": "The host's public key, for encrypted networks; `netapply keys --write` puts it here.",
        },
        "private_key_file": {
            "type": "string",
            "pattern": "^/[^\\x00-\\x1f]{1,4000}$",
            "patternErrorMessage": "not the path of a file, which begins with /",
            "default": "/etc/netapply/wireguard.key",
            "description": "The file with the private key on that host, for root alone; `netapply keys` makes it.",
        },
        "wireguard_port": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65535,
            "default": 51820,
            "description": "The UDP port by which the other hosts reach it, for encrypted networks.",
        },
    },
}

CORE: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:netapply:schema:manifest:1",
    "title": "manifest",
    "description": "The networks that there should be, and the containers attached to them.",
    "type": "object",
    "required": ["project"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {"description": "Yours: a place for anchors. netapply does not read it."}},
    "properties": {
        "version": {"enum": [1, "1"], "default": 1, "description": "The version of this format."},
        "project": {
            "type": "string",
            "pattern": PROJECT,
            "patternErrorMessage": "not a project's name: small letters, digits, _ . and -, 63 at most, the first a "
            "letter or digit",
            "description": "The scope of ownership: what netapply may change and remove.",
        },
        "networks": {
            "description": "The networks by name.",
            "type": ["object", "null"],
            "propertyNames": _NAME,
            "additionalProperties": {"$ref": "#/$defs/network"},
        },
        "containers": {
            "description": "The containers by name.",
            "type": ["object", "null"],
            "propertyNames": _NAME,
            "additionalProperties": {"$ref": "#/$defs/container"},
        },
        "services": {
            "description": "The services by name: one name and one virtual IP for many containers.",
            "type": ["object", "null"],
            "propertyNames": _NAME,
            "additionalProperties": {"$ref": "#/$defs/service"},
        },
        "hosts": {
            "description": "The machines that the manifest is applied on, by name, where there are several.",
            "type": ["object", "null"],
            "propertyNames": _NAME,
            "additionalProperties": {"$ref": "#/$defs/host"},
        },
        "dns": dns_schema.EVERYWHERE,
        "coexist": {
            "enum": ["docker"],
            "description": "Whose firewall on the same host is to let the networks' packets pass: docker keeps accepts "
            "for them in the chain DOCKER-USER.",
        },
        "default_address_pools": {
            "description": "Where subnets that no network names are taken from; left out, Docker's pools.",
            "type": ["array", "null"],
            "maxItems": MANY,
            "items": {
                "title": "address pool",
                "description": "One pool.",
                "type": "object",
                "required": ["base", "size"],
                "additionalProperties": False,
                "properties": {
                    "base": {**_PREFIX, "description": "The prefix that subnets are cut from."},
                    "size": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 128,
                        "description": "The prefix length of each subnet.",
                    },
                },
            },
        },
    },
    "$defs": {
        "network": _NETWORK,
        "ipam_config": _IPAM_CONFIG,
        "route": _ROUTE,
        "container": _CONTAINER,
        "port": PORT,
        "service": SERVICE,
        "service_port": SERVICE_PORT,
        "host": _HOST,
        "sandbox": SANDBOX,
        "rate": RATE,
        "endpoint": ENDPOINT,
    },
}
