"""The schema of a container's `ports`: Compose's short and long forms."""

from __future__ import annotations

from typing import Any, Final

_RANGE = {
    "type": ["integer", "string"],
    "minimum": 1,
    "maximum": 65535,
    "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$",
    "patternErrorMessage": "not a port or a range such as 8000-8010",
}

PORT: Final[dict[str, Any]] = {
    "title": "published port",
    "description": "A port of the host that leads to the container: [HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL], or a "
    "mapping. Ports may be ranges; without PUBLISHED it is a free one, which stays.",
    "type": ["string", "integer", "object"],
    "required": ["target"],
    "additionalProperties": False,
    "properties": {
        "target": {**_RANGE, "description": "The port of the container, or a range."},
        "published": {**_RANGE, "description": "The port of the host, or a range as long; left out, a free one."},
        "protocol": {"enum": ["tcp", "udp", "sctp"], "default": "tcp", "description": "The protocol."},
        "host_ip": {
            "type": "string",
            "description": "The host's address that it is published on; left out, all of them.",
        },
        "mode": {
            "enum": ["host", "ingress"],
            "default": "ingress",
            "description": "Compose's: a container's port is published on the host that it is on, whichever is said.",
        },
        "name": {"type": "string", "description": "A name for readers; netapply does nothing with it."},
        "app_protocol": {"type": "string", "description": "For readers and tools; netapply does nothing with it."},
    },
}
