"""What a manifest can say of names: `dns` of the whole and of a container, and `aliases` on a network."""

from __future__ import annotations

from typing import Any

_FEW = 16

_SERVERS: dict[str, Any] = {
    "type": ["string", "array", "null"],
    "maxItems": _FEW,
    "uniqueItems": True,
    "items": {"type": "string", "description": "The address of a server."},
}
_WORD = {
    "type": "string",
    "pattern": "^[^\\s#;]{1,253}$",
    "patternErrorMessage": "not one word of a resolv.conf",
}

ALIASES: dict[str, Any] = {
    "description": "Further names that the container has on the network; several containers may share one.",
    "type": ["array", "null"],
    "uniqueItems": True,
    "maxItems": 256,
    "items": {
        "type": "string",
        "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}([.][A-Za-z0-9_][A-Za-z0-9_-]{0,62}){0,3}$",
        "patternErrorMessage": "not a name of letters, digits, _ and -, in parts of 63 at most with dots between",
    },
}

EVERYWHERE: dict[str, Any] = {
    "description": "Whether containers find each other by name; left out, true where a container has aliases or dns.",
    "type": "boolean",
}

CONTAINER: dict[str, Any] = {
    "title": "dns",
    "description": "How the container looks up names: a server or a list of them, or a mapping; false: as it likes, "
    "with no resolver and no resolv.conf of netapply's.",
    "type": ["boolean", "object", "string", "array", "null"],
    "additionalProperties": False,
    **{key: _SERVERS[key] for key in ("maxItems", "uniqueItems", "items")},
    "properties": {
        "servers": {
            **_SERVERS,
            "description": "Who is asked for what no container is called; left out, whom the host asks.",
        },
        "search": {
            **_WORD,
            "type": ["string", "array", "null"],
            "maxItems": _FEW,
            "items": _WORD,
            "description": "Domains that are tried with a name.",
        },
        "options": {
            "type": ["array", "null"],
            "maxItems": _FEW,
            "items": _WORD,
            "description": "Options of resolv.conf, such as ndots:2.",
        },
    },
}
