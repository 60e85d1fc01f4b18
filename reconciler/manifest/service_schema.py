"""The schema of `services`: one name and one virtual IP for many containers."""

from __future__ import annotations

from typing import Any, Final

_PORT_NUMBER = {"type": "integer", "minimum": 1, "maximum": 65535}

SERVICE: Final[dict[str, Any]] = {
    "title": "service",
    "description": "One name and one virtual IP for many containers of a network; what comes is spread over them.",
    "type": "object",
    "required": ["network", "containers"],
    "additionalProperties": False,
    "properties": {
        "network": {"type": "string", "description": "The network that the service is on, for all who are on it."},
        "containers": {
            "description": "The containers that serve: names, or patterns such as api-*, of those on the network.",
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"type": "string", "description": "The name of a container, or a pattern of * and ?."},
        },
        "endpoint_mode": {
            "enum": ["vip", "dnsrr"],
            "default": "vip",
            "description": "vip: one address, from which connections are spread; dnsrr: the name has all addresses.",
        },
        "vip": {
            "type": ["string", "array"],
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": 2,
            "description": "The virtual IP, or one of each family; left out, an address of the network that is free.",
        },
        "ports": {
            "description": "The ports that are served; left out, all of tcp, udp and sctp. TARGET, TARGET/PROTOCOL, "
            "PUBLISHED:TARGET, PUBLISHED:TARGET/PROTOCOL, or a mapping.",
            "type": ["array", "null"],
            "maxItems": 1024,
            "items": {"$ref": "#/$defs/service_port"},
        },
        "affinity": {
            "enum": ["none", "client"],
            "default": "none",
            "description": "client: the same container serves all connections of a client; none: each in turn.",
        },
        "weights": {
            "description": "By container or pattern: how many connections it gets where others get one.",
            "type": ["object", "null"],
            "additionalProperties": {
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "description": "How many connections it gets where others get one.",
            },
        },
    },
}

SERVICE_PORT: Final[dict[str, Any]] = {
    "title": "service port",
    "description": "A port that a service is reached at.",
    "type": ["integer", "string", "object"],
    "pattern": "^([0-9]{1,5}:)?[0-9]{1,5}(/(tcp|udp|sctp))?$",
    "patternErrorMessage": "not a port such as 80, 53/udp or 8000:80",
    "minimum": 1,
    "maximum": 65535,
    "required": ["target"],
    "additionalProperties": False,
    "properties": {
        "target": {**_PORT_NUMBER, "description": "The port of the containers, and of the virtual IP."},
        "published": {
            **_PORT_NUMBER,
            "description": "The port of the host by which it is reached from outside; left out, it is not.",
        },
        "protocol": {"enum": ["tcp", "udp", "sctp"], "default": "tcp", "description": "The protocol."},
        "mode": {
            "enum": ["ingress", "host"],
            "default": "ingress",
            "description": "ingress: the published port works on every host; host: only where a container of the "
            "service runs, and goes to none elsewhere.",
        },
    },
}
