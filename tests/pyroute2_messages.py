"""Messages as pyroute2 encodes them: the oracle of what netapply decodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def encoded(kind: Callable[[], Any], fields: Mapping[str, Any], attrs: Sequence[Sequence[Any]]) -> bytes:
    """Encode a message with a message class of pyroute2 and return what follows its header."""
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attrs
    message.encode()
    return bytes(message.data[16:])
