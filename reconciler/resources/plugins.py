"""What plugins make."""

from __future__ import annotations

from typing import ClassVar

from ..values import dataclass, field
from .names import HOST, Key


@dataclass(frozen=True, slots=True)
class Delegated:
    """What a plugin makes and keeps by itself: netapply knows what it asked for, and may ask whether it still is.

    `path` is that of a link ("web/front", "front"), `protocol` how the plugin is spoken to ("cni", "docker-plugin"),
    `sandbox` where it acts, HOST for what belongs to the network, `interface` the name of what the container gets.
    `request` is all that is asked for, as JSON with sorted keys; another request is another object, since no plugin can
    change what it has made. `after` are paths of others that must be there before, `tags` are as those of a link.
    Observed only: `healthy` is False where what the plugin made is broken or half-made, `trouble` says why, `addresses`
    are those that the container has by it.
    """

    KIND: ClassVar[str] = "delegated"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset({"protocol", "sandbox", "interface", "request", "healthy"})

    path: str
    protocol: str
    sandbox: str
    request: str
    interface: str = ""
    healthy: bool = True
    after: tuple[str, ...] = field(default=(), compare=False)
    tags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = field(default=(), compare=False)
    trouble: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return Key("delegated", self.path)

    @property
    def inner(self) -> tuple[str, str]:
        """The sandbox and the name of what carries addresses, as of a link."""
        return self.sandbox, self.interface

    @property
    def requires(self) -> tuple[Key, ...]:
        needs = tuple(Key("delegated", path) for path in self.after)
        return needs if self.sandbox == HOST else (Key("netns", self.sandbox), *needs)
