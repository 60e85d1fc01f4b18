"""Namespaces and the links in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from ..values import dataclass, field
from .names import HOST, UPLINK, Key, Option


@dataclass(frozen=True, slots=True)
class Netns:
    """A sandbox: the network namespace of one container.

    `reference` is what the manifest says, "netns:web" or "pid:4242". An adopted one is never created or deleted.
    `busy` is observed only: a process other than ours lives in it.
    """

    KIND: ClassVar[str] = "netns"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset({"reference"})

    sandbox: str
    reference: str
    adopted: bool = False
    loopback_up: bool | None = True
    busy: bool | None = field(default=None, compare=False)

    @property
    def key(self) -> Key:
        return Key("netns", self.sandbox)

    @property
    def requires(self) -> tuple[Key, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Peer:
    """The inner end of a veth pair, in `sandbox`. `ipv6` False: no IPv6 addresses of the kernel's own making."""

    sandbox: str
    name: str
    mtu: int | None = None
    mac: str | None = None
    up: bool = True
    ipv6: bool | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link of ours; a veth pair is one link with a peer, so that a lost inner end is drift.

    `sandbox` is where it is (for a veth: its outer end). `options` are those of the kind (IFLA_INFO_DATA), `port` those
    of a bridge port (IFLA_BRPORT). `sysctls` are under net.{ipv4,ipv6}.{conf,neigh}.INTERFACE of the end that the
    container sees, keyed "ipv4.conf.rp_filter". `tags` are what later runs must know though no manifest says it any
    more ("protect"); the alias keeps them: `netapply:PROJECT/PATH;TAG;TAG;sysctls=NAME,NAME`. MACs are lower case with
    colons, `mtu` is in bytes.
    """

    KIND: ClassVar[str] = "link"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset({"kind", "sandbox", "parent", "peer.sandbox"})

    path: str
    kind: str
    sandbox: str
    name: str
    mtu: int | None = None
    mac: str | None = None
    up: bool = True
    master: str | None = None
    parent: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    port: Mapping[str, Option] = field(default_factory=dict)
    peer: Peer | None = None
    ipv6: bool | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return Key("link", self.path)

    @property
    def inner(self) -> tuple[str, str]:
        """The sandbox and the name of the end that carries addresses: the peer's if there is one."""
        return (self.peer.sandbox, self.peer.name) if self.peer else (self.sandbox, self.name)

    @property
    def requires(self) -> tuple[Key, ...]:
        sandboxes = {self.sandbox, self.peer.sandbox if self.peer else HOST} - {HOST}
        links = [ref for ref in (self.master, self.parent) if ref]
        return (*(Key("netns", name) for name in sorted(sandboxes)), *(Key("link", ref) for ref in links))


@dataclass(frozen=True, slots=True)
class Port:
    """A link of the host's that somebody else made, in a bridge of ours since the manifest asks for it by name.

    `path` is "front#uplink", `name` the link's, `master` the path of the bridge. `found_up` is how it was found, and is
    left again: it is known by the tag of the bridge, "uplink=eth1" or "uplink-down=eth1" (`tag`), which the bridge has
    before the link is put into it and until it is out again.
    """

    KIND: ClassVar[str] = "port"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset({"name", "master"})
    TAGS: ClassVar[Mapping[str, bool]] = {"uplink=": True, "uplink-down=": False}

    path: str
    name: str
    master: str
    up: bool = True
    found_up: bool = field(default=True, compare=False)

    @property
    def key(self) -> Key:
        return Key("port", self.path)

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.master), Key("link", f"/{self.name}"))

    @property
    def tag(self) -> str:
        return next(f"{start}{self.name}" for start, up in self.TAGS.items() if up is self.found_up)

    @classmethod
    def tagged(cls, tags: Iterable[str]) -> Iterator[tuple[str, bool]]:
        """Yield the links that a bridge with these tags may have as ports of ours: names, and whether they were up."""
        for tag in tags:
            start, sign, name = tag.partition("=")
            if (up := cls.TAGS.get(start + sign)) is not None:
                yield name, up


@dataclass(frozen=True, slots=True)
class BridgeVlan:
    """A VLAN of a port, or with `link` a bridge of the bridge itself, where the bridge filters VLANs.

    `link` is a path, that of a port of somebody else's ("front#uplink") too. `pvid`: frames without a tag that come in
    belong to it; `untagged`: its frames go out without a tag.
    """

    KIND: ClassVar[str] = "vlan"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    vid: int
    pvid: bool = False
    untagged: bool = False

    @property
    def key(self) -> Key:
        return Key("vlan", f"{self.link} {self.vid}")

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("port" if self.link.endswith(UPLINK) else "link", self.link),)
