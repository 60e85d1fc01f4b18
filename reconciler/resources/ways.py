"""What links carry: addresses, routes, and who is where."""

from __future__ import annotations

from typing import ClassVar

from ..values import dataclass, field
from .names import HOST, Key


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a link's inner end: "10.20.0.10/24" or "fd00:20::a/64", in the kernel's own spelling."""

    KIND: ClassVar[str] = "address"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    address: str

    @property
    def key(self) -> Key:
        return Key("address", f"{self.link} {self.address}")

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.link),)


@dataclass(frozen=True, slots=True)
class Route:
    """A route in a sandbox's main table, with our protocol number.

    `destination` is a prefix ("0.0.0.0/0", "::/0"), `via` the next hop, `link` the path of the link that it leaves by
    (None for blackhole, unreachable and prohibit), `metric` the priority, 0 where IPv4's default is meant and 1024 for
    IPv6's. `shared` is observed only: it is by no link that would say whose it is, and another project has something in
    that sandbox, too. `onlink`: the next hop is taken for a neighbour, whatever addresses the link has.
    """

    KIND: ClassVar[str] = "route"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    sandbox: str
    destination: str
    via: str | None = None
    link: str | None = None
    metric: int = 0
    type: str = "unicast"
    shared: bool | None = field(default=None, compare=False)
    onlink: bool = False

    @property
    def key(self) -> Key:
        return Key("route", f"{self.sandbox} {self.destination} metric {self.metric}")

    @property
    def requires(self) -> tuple[Key, ...]:
        """Its link, or its sandbox. That the link's addresses come first is `reconciler.plan`'s to know."""
        if self.link is not None:
            return (Key("link", self.link),)
        return (Key("netns", self.sandbox),) if self.sandbox != HOST else ()


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """Where a VXLAN link of ours sends frames for a MAC: `via` is the address of a host, without prefix length.

    `bridged`: the bridge that the link is in sends them to the link, and to no other port. For the MAC FLOOD there may
    be several, one for each host that gets what is for everybody; those are the link's own business. They do not age.
    Observed, `via` is "" where only the bridge's half is left.
    """

    KIND: ClassVar[str] = "fdb"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()
    FLOOD: ClassVar[str] = "00:00:00:00:00:00"

    link: str
    mac: str
    via: str
    bridged: bool = True

    @property
    def key(self) -> Key:
        return Key("fdb", f"{self.link} {self.mac}" + (f" {self.via}" if self.mac == self.FLOOD else ""))

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.link),)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who has an address on a link of ours, so that nobody need ask: `address` without prefix length, permanent."""

    KIND: ClassVar[str] = "neighbour"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    address: str
    mac: str

    @property
    def key(self) -> Key:
        return Key("neighbour", f"{self.link} {self.address}")

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.link),)
