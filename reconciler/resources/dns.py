"""Names: who is known by which on a network, who answers for them, and where a container looks them up."""

from __future__ import annotations

from typing import ClassVar

from ..values import dataclass, field
from .names import HOST, Key


@dataclass(frozen=True, slots=True)
class DnsHosts:
    """The names of one network: lines as in /etc/hosts, "10.20.0.10 web web.front", that its resolvers read.

    `healthy` is False when observed after a run that ended between writing them and having them read.
    """

    KIND: ClassVar[str] = "names"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    network: str
    records: tuple[str, ...]
    healthy: bool = True

    @property
    def key(self) -> Key:
        return Key("names", self.network)

    @property
    def requires(self) -> tuple[Key, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class DnsServer:
    """A dnsmasq in the host's namespace, for the containers that are on exactly these networks; or one in a `sandbox`,
    for the containers in there, which are on no network that the host has an address on.

    `listen` are the host's own addresses there, or OWN. It asks nobody else for what is in the domains of `local`, nor
    for who has an address in the subnets of `reverse`. `upstream` is whom it asks for the rest: addresses, a file with
    them (HOSTS_OWN), or nobody. `healthy` and `trouble` are observed: whether it runs, as its file says and as it
    should. A `name` begins with INSIDE where it is, or was to be, in a sandbox.
    """

    KIND: ClassVar[str] = "resolver"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()
    HOSTS_OWN: ClassVar[tuple[str, ...]] = ("/etc/resolv.conf",)
    OWN: ClassVar[str] = "127.0.0.11"
    OWN_PORT: ClassVar[int] = 53
    INSIDE: ClassVar[str] = "in "

    name: str
    networks: tuple[str, ...]
    listen: tuple[str, ...]
    port: int
    local: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()
    upstream: tuple[str, ...] = HOSTS_OWN
    sandbox: str = HOST
    healthy: bool = True
    trouble: str = field(default="", compare=False)
    pid: int | None = field(default=None, compare=False)

    @property
    def key(self) -> Key:
        return Key("resolver", self.name)

    @property
    def requires(self) -> tuple[Key, ...]:
        inside = [Key("netns", self.sandbox)] if self.sandbox else []
        return (*(Key("names", network) for network in self.networks), *inside)


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """The resolv.conf of a container, where its kind of sandbox keeps one; `reference` is that of its `Netns`."""

    KIND: ClassVar[str] = "resolvconf"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset({"reference"})

    sandbox: str
    reference: str
    lines: tuple[str, ...]

    @property
    def key(self) -> Key:
        return Key("resolvconf", self.sandbox)

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("netns", self.sandbox),)
