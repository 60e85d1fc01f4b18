"""The schema of a container on a network: its addresses and names there, and how fast it may be."""

from __future__ import annotations

from typing import Any, Final

from . import dns_schema

MANY: Final = 64
"""The most entries of lists that are compared each with each."""

_ADDRESSES = {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1, "maxItems": MANY}

_SPEED: dict[str, Any] = {
    "type": ["integer", "string"],
    "minimum": 20_000,
    "maximum": 1_000_000_000_000,
    "pattern": "^[0-9]{1,13}([.][0-9]{1,6})? ?([kKmMgG]?[bB][iI][tT])?$",
    "patternErrorMessage": "not a rate in bits a second such as 10mbit, 500kbit or 1gbit",
}
RATE: Final[dict[str, Any]] = {
    "title": "rate",
    "description": "A rate, or {rate, burst}.",
    "type": ["object", "integer", "string", "null"],
    "minimum": _SPEED["minimum"],
    "maximum": _SPEED["maximum"],
    "pattern": _SPEED["pattern"],
    "patternErrorMessage": _SPEED["patternErrorMessage"],
    "required": ["rate"],
    "additionalProperties": False,
    "properties": {
        "rate": {
            **_SPEED,
            "description": "Bits a second: a number, or one with kbit, mbit or gbit (10^3, 10^6, 10^9).",
        },
        "burst": {
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": 4294967295,
            "pattern": "^[0-9]{1,10}([.][0-9]{1,6})? ?([kKmM]?[bB])?$",
            "patternErrorMessage": "not a number of bytes such as 64kb or 1mb",
            "description": "Bytes that may go at once: a number, or one with kb or mb (2^10, 2^20); left out, what "
            "suits the rate.",
        },
    },
}

ENDPOINT: Final[dict[str, Any]] = {
    "title": "container's network",
    "description": "How a container is attached to a network.",
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "ipv4_address": {**_ADDRESSES, "description": "The IPv4 address, or a list of several."},
        "ipv6_address": {**_ADDRESSES, "description": "The IPv6 address, or a list of several."},
        "mac_address": {
            "type": "string",
            "pattern": "^([0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}([.][0-9A-Fa-f]{4}){2}|[0-9A-Fa-f]{12})$",
            "patternErrorMessage": "not a MAC address such as 02:42:ac:11:00:02",
            "description": "The MAC address of the interface.",
        },
        "interface_name": {"type": "string", "description": "The interface's name in the container."},
        "gw_priority": {
            "type": "integer",
            "minimum": -2147483648,
            "maximum": 2147483647,
            "default": 0,
            "description": "The container's default route goes by the network with the highest one.",
        },
        "sysctls": {
            "description": "Settings of the interface, such as net.ipv4.conf.IFNAME.rp_filter (IFNAME stands for its "
            "name). A mapping or a list of NAME=VALUE.",
            "type": ["object", "array", "null"],
            "additionalProperties": {
                "type": ["string", "integer"],
                "pattern": "^[0-9A-Za-z._:-]+$",
                "patternErrorMessage": "not the value of a setting",
                "description": "The setting's value.",
            },
            "items": {
                "type": "string",
                "pattern": "^[^=]+=[0-9A-Za-z._:-]+$",
                "patternErrorMessage": "not of the form NAME=VALUE",
            },
        },
        "aliases": dns_schema.ALIASES,
        "link_local_ips": {
            "description": "Link-local addresses to have as well, in 169.254.0.0/16 or fe80::/10.",
            "type": ["array", "null"],
            "uniqueItems": True,
            "items": {"type": "string"},
        },
        "bandwidth": {
            "title": "bandwidth",
            "description": "How fast the container may receive (ingress) and send (egress) by this network.",
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "ingress": {"$ref": "#/$defs/rate"},
                "egress": {"$ref": "#/$defs/rate"},
            },
        },
        "driver_opts": {
            "description": "Options of the network's driver for this endpoint.",
            "type": ["object", "null"],
            "additionalProperties": {
                "type": ["integer", "boolean", "string", "object", "array"],
                "description": "The option's value.",
            },
        },
    },
}
