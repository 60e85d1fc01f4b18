"""Networks with everything settled: what a driver lowers into resources.

`reconciler.allocation.allocate` makes them from the manifest and the host's facts. Nothing is left open in them:
addresses, MACs, names, MTU and default routes are values, so that lowering is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .resources import Netns, Option
from .values import dataclass, field

FREE_PORTS = range(20000, 32768)
"""Where the host's ports are taken from that a manifest leaves open, as far as the host has no other use for them."""


def entries(value: Option | None) -> tuple[Option, ...]:
    """Return what an option says that is one value or a list of several: lists are JSON in the model."""
    if isinstance(value, str) and value.startswith("["):
        import json

        return tuple(json.loads(value))
    return () if value is None else (value,)


class SandboxRef(NamedTuple):
    """Where a container's namespace is: `kind` is "netns", "host", or a module of `reconciler.sandboxes`; `create` it
    if it is missing. `details` are what a kind wants to know beside its value, such as ("socket", "/run/docker.sock").
    """

    kind: str
    value: str = ""
    create: bool = False
    details: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        name = f"{self.kind}:{self.value}" if self.value else self.kind
        return f"{name} ({', '.join(map(' '.join, self.details))})" if self.details else name

    @property
    def is_anothers(self) -> bool:
        """Whether a runtime made the namespace, which then counts on its own settings and names in it."""
        return self.kind not in ("netns", "pid", "host")

    def detail(self, name: str) -> str:
        """Return what the manifest says of one, "" where it says nothing."""
        return dict(self.details).get(name, "")


@dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet of a network: `cidr` as "10.20.0.0/24" or "fd00:20::/64", `gateway` an address in it or None."""

    cidr: str
    gateway: str | None = None

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.cidr else 4

    @property
    def prefix_length(self) -> int:
        return int(self.cidr.rpartition("/")[2])

    @property
    def gateway_address(self) -> str | None:
        """The gateway with the subnet's prefix length, "10.20.0.1/24"."""
        return None if self.gateway is None else f"{self.gateway}/{self.prefix_length}"


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route that the endpoints of a network get. `via` None with type "unicast" means on the link."""

    destination: str
    via: str | None = None
    type: str = "unicast"
    metric: int | None = None


class Rate(NamedTuple):
    """How fast packets may go: bit/s, and how many bytes at once (None: what suits the rate)."""

    rate: int
    burst: int | None = None


class Bandwidth(NamedTuple):
    """How fast an endpoint may receive (`ingress`) and send (`egress`); None: as fast as it can."""

    ingress: Rate | None = None
    egress: Rate | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's attachment to a network.

    `addresses` are all of them with prefix lengths; where the driver's networks are not addressed, those that the
    manifest asks for, without, and `mac` is then empty unless it asks for one. `routes` are those that the sandbox gets
    by this endpoint, the default routes (if this endpoint carries them) and the network's static ones among them.
    """

    container: str
    network: str
    interface_name: str
    mac: str
    addresses: tuple[str, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    driver_opts: Mapping[str, Option] = field(default_factory=dict)
    bandwidth: Bandwidth | None = None

    @property
    def path(self) -> str:
        """The path of its link (see `reconciler.resources`)."""
        return f"{self.container}/{self.network}"

    @property
    def sandbox(self) -> str:
        return self.container

    @property
    def ipv6(self) -> bool:
        return any(":" in address for address in self.addresses)


class Parent(NamedTuple):
    """The link of the host that a network stands on, and how it comes to be there.

    `kind` is "" for one that somebody else made, or another network of the project (`reconciler.lowering.lower` knows
    that by its name). "vlan" and "dummy" are made for their networks: the first on the link `below`, with the VLAN ID
    `vid`.
    `path` is that of such a link (see `reconciler.resources`), `mtu` in bytes, None what the kernel picks.
    """

    name: str
    kind: str = ""
    path: str = ""
    below: Parent | None = None
    vid: int = 0
    mtu: int | None = None

    @property
    def reference(self) -> str:
        """What links on it have as their `parent`."""
        return self.path if self.kind else f"/{self.name}"


class Node(NamedTuple):
    """A host that networks span: `address` is where the others send to, without prefix length.

    `subnets` are its own shares of a network that is cut, each with its gateway; none where all are one segment.
    `near`: it is on one link with this host, so that no router is in between. `own` are the addresses that it has on
    the network for itself, where that has services: all hosts share the gateway's, by which an answer finds any of
    them.
    """

    name: str
    address: str
    subnets: tuple[Subnet, ...] = ()
    near: bool = False
    own: tuple[str, ...] = ()


class Remote(NamedTuple):
    """An endpoint on another host: its MAC, its addresses without prefix lengths, and the address of that host."""

    container: str
    mac: str
    addresses: tuple[str, ...]
    via: str


class TunnelPeer(NamedTuple):
    """Another host at a tunnel's end: its public key, where it is reached ("192.0.2.12:51820"), its address there."""

    host: str
    public_key: str
    endpoint: str
    address: str


class Tunnel(NamedTuple):
    """How encrypted networks get to other hosts: by one WireGuard link, which all of a project's share.

    `mtu` is the link's, `address` this host's own in the tunnel, all of which are in `prefix`.
    """

    mtu: int
    public_key: str
    key_file: str
    port: int
    prefix: str
    address: str
    peers: tuple[TunnelPeer, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """A network, settled. `parent` is the host's link that it stands on, for drivers that want one.

    `host_addresses` are those by which the host is to be on the network beside its endpoints, as "10.20.0.9/32".
    `allow` names the networks that this one may open connections to. Endpoints that are pending (their container does
    not run) are not among `endpoints`. Where it spans hosts, `node` is this one, `nodes` are the others by name, and
    `remotes` the endpoints there, by container; with a `tunnel` the hosts' addresses are those in it.
    `whole` are the subnets of which this host's are parts, where each has its own; `virtual` are then prefixes of the
    virtual IPs of services that are in no host's part.
    """

    project: str
    name: str
    driver: str
    mtu: int
    options: Mapping[str, Option] = field(default_factory=dict)
    subnets: tuple[Subnet, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    internal: bool = False
    external: bool = False
    protect: bool = False
    allow: tuple[str, ...] = ()
    parent: Parent | None = None
    host_addresses: tuple[str, ...] = ()
    node: Node | None = None
    nodes: tuple[Node, ...] = ()
    remotes: tuple[Remote, ...] = ()
    tunnel: Tunnel | None = None
    whole: tuple[str, ...] = ()
    virtual: tuple[str, ...] = ()

    @property
    def ipv4(self) -> bool:
        return any(subnet.family == 4 for subnet in self.subnets)

    @property
    def ipv6(self) -> bool:
        return any(subnet.family == 6 for subnet in self.subnets)


class Target(NamedTuple):
    """Where what comes in by a published port goes: an address without prefix length, a port there, its weight.

    `masquerade`: it sees the host's address instead of the client's, since its answers to that would go by another
    router.
    """

    address: str
    port: int
    weight: int = 1
    masquerade: bool = False


@dataclass(frozen=True, slots=True)
class Publication:
    """A port of the host that leads to containers. `owner` is the name of the container, or the service, whose it is.

    `protocol` is "tcp", "udp" or "sctp". `host_ip` is the host's address that it is published on; None: all of the
    targets' family. The `targets` are of one family; of several each gets a share of the connections by its weight.
    `affinity`: whose connections are all from one address go to one of them. `leaving` are those that were targets and
    run on: they keep the connections that they have.
    """

    owner: str
    protocol: str
    host_ip: str | None
    port: int
    targets: tuple[Target, ...]
    affinity: bool = False
    leaving: tuple[Target, ...] = ()

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.targets[0].address else 4


class ServicePort(NamedTuple):
    """A port of a service: `target` is the containers' and the virtual IP's, `published` the host's, if it has one.

    `mode` is "ingress" or "host" (`reconciler.manifest.service_schema`).
    """

    target: int
    published: int | None = None
    protocol: str = "tcp"
    mode: str = "ingress"


class Backend(NamedTuple):
    """A container that serves: one address of each family that it has, and how often it has a turn. `here`: on this
    host."""

    container: str
    addresses: tuple[str, ...]
    weight: int = 1
    here: bool = True


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a network, settled. `vips` are its addresses without prefix length, none in mode dnsrr.

    `backends` are those that run, on whichever host, by name. Without `ports` all are served.
    """

    name: str
    network: str
    vips: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    affinity: bool = False


class NameUser(NamedTuple):
    """A container that looks up names. `networks` are its own in the manifest's order; the rest is resolv.conf's."""

    container: str
    networks: tuple[str, ...]
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Resolver(NamedTuple):
    """Who answers the `users` that are on exactly these networks, and have the same `upstream`: addresses, the path of
    a file with them, or nobody."""

    networks: tuple[str, ...]
    upstream: tuple[str, ...]
    port: int
    users: tuple[NameUser, ...]


class Names(NamedTuple):
    """Service discovery, settled. `records` are, by network, addresses with their names, the container's own first."""

    records: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]]
    resolvers: tuple[Resolver, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """All of a project, settled: the sandboxes that there are or should be, and the networks between them.

    `pending` says, by container, why it has no namespace that could be attached yet. `notes` are remarks for readers.
    `publications` are in the order of protocol, port, family and host_ip.
    """

    project: str
    sandboxes: tuple[Netns, ...] = ()
    networks: tuple[Network, ...] = ()
    pending: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    publications: tuple[Publication, ...] = ()
    names: Names | None = None
    coexist: str | None = None
