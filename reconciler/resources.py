"""The kernel objects that netapply keeps, as values.

A resource is a frozen dataclass for one object. `key` is its identity, `requires` the keys that must exist before it.
A field that is None means "the kernel picks": it is never compared. Of a mapping only the desired keys are compared.

Objects are named by symbols, so that a desired state can be written down before anything exists:

- a *sandbox* is the name of a container, or HOST; `Netns` says where it is. `@NAME` is a namespace that holds
  something of ours and belongs to no container of the manifest, `@COOKIE` one that has no name in /run/netns;
- a link's *path* says what it is for: "front" is the network's own link, "web/front" the endpoint of the container
  web on it; a further link of either has a suffix, "front#vxlan". "#eth0.20" is a link that several networks of the
  project stand on: each yields the same one, it comes with the first and goes with the last. The kernel stores the
  path in the link's alias;
- a *link reference* (`master`, `parent`) is the path of a link of ours, or "/NAME": a link of that name in the host's
  namespace that somebody else made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, NamedTuple, TypeAlias

HOST = ""
"""The sandbox that is the host's own network namespace."""

ROUTE_PROTOCOL = 110
"""rtm_protocol of our routes: free in iproute2's rt_protos and in FRR's and BIRD's numbers."""

LINK_GROUP = 0x6E6170
"""IFLA_GROUP of every link of ours ("nap"), given at creation, when the kernel ignores an alias."""

ALIAS = "netapply:"
"""How the alias of a link of ours begins: netapply:PROJECT/PATH; of a namespace's lo:
netapply:PROJECT/CONTAINER;host=COOKIE, where the host's cookie tells hosts apart that share /run/netns."""

GUARD_TABLE = "netapply"
"""Name of the nft table that keeps a host from forwarding for others after netapply has turned forwarding on."""

HALF_MADE = "?"
"""How the path of a link, or the name of a sandbox, begins that a killed run left unmarked. Never desired."""

WIREGUARD = "#wireguard"
"""The path of the link by which a project's encrypted networks go to other hosts."""

FENCES = range(0x6E000000, 0x6F000000)
"""Metrics of routes to nowhere that keep what is for that link from following another route where it has none; each
project has one of its own (`naming.fence_metric`), by which they are known."""

UPLINK = "#uplink"
"""How the path of a port ends: of a link of somebody else's that is in a bridge of ours."""

VLANS = "vlans"
"""The tag of a bridge or a port whose VLANs are netapply's to say; those of others are not looked at."""

Option: TypeAlias = str | int | bool


class Key(NamedTuple):
    """A resource's identity within its project, such as Key("link", "web/front")."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


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
class Sysctl:
    """A kernel setting of the host, such as "net.ipv4.ip_forward". Never set back: others may rely on it by now."""

    KIND: ClassVar[str] = "sysctl"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    name: str
    value: str

    @property
    def key(self) -> Key:
        return Key("sysctl", self.name)

    @property
    def requires(self) -> tuple[Key, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class NftTable:
    """An nftables table in the host's namespace: the project's, or the guard that all projects share.

    `text` is the whole table as `nft -s list table` prints it; `Host.canonical` brings a desired one into that form.
    """

    KIND: ClassVar[str] = "nft"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    family: str
    name: str
    text: str

    @property
    def key(self) -> Key:
        return Key("nft", f"{self.family} {self.name}")

    @property
    def requires(self) -> tuple[Key, ...]:
        return ()


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


@dataclass(frozen=True, slots=True)
class Wireguard:
    """Who a WireGuard link of ours is: its public key as `wg` prints it, and the UDP port that it is reached at.

    The private key is in the kernel and in `key_file`, and in no value. Observed, `public_key` is "" and the port
    0 where it has none.
    """

    KIND: ClassVar[str] = "wireguard"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    public_key: str
    listen_port: int
    key_file: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return Key("wireguard", self.link)

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.link),)


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """Whom a WireGuard link of ours talks to, and which addresses are behind that one: prefixes, sorted.

    `endpoint` is where to send to before the peer has been heard of ("192.0.2.12:51820", "[2001:db8::12]:51820"). From
    then on the kernel follows the peer, so that it is not compared; `reconciler.tunnels` gives whoever moves another
    address. `preshared`: somebody has set a preshared key. `host` is the peer's name, for who reads of it.
    """

    KIND: ClassVar[str] = "peer"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    public_key: str
    endpoint: str = field(compare=False)
    allowed_ips: tuple[str, ...]
    preshared: bool = False
    host: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return Key("peer", f"{self.link} {self.public_key}")

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.link),)


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


Resource: TypeAlias = (
    Netns
    | Link
    | Port
    | Address
    | Route
    | FdbEntry
    | Neighbour
    | BridgeVlan
    | Wireguard
    | WireguardPeer
    | Delegated
    | Sysctl
    | NftTable
)

CARRIED = (Address, Route, FdbEntry, Neighbour, BridgeVlan, Wireguard, WireguardPeer)
"""Those with a `link` that they are part of, and go with."""

State: TypeAlias = Mapping[Key, Resource]
"""What there is, or what there should be, of one project."""


def state(resources: Iterator[Resource] | tuple[Resource, ...] | list[Resource]) -> dict[Key, Resource]:
    """Return the resources by key; two of one key that differ are a ValueError. What several need they may all say."""
    result: dict[Key, Resource] = {}
    for resource in resources:
        if (first := result.setdefault(resource.key, resource)) is not resource and first != resource:
            raise ValueError(f"{resource.key} is there twice")
    return result


def subject(resource: Resource) -> tuple[str | None, str | None]:
    """Return the container and the network that a resource is for, each None where there is none, or several."""
    match resource:
        case Netns(sandbox=name):
            return name, None
        case Link(path=path) | Port(path=path) | Address(link=path) | Delegated(path=path):
            return _split(path)
        case FdbEntry(link=path) | Neighbour(link=path) | BridgeVlan(link=path):
            return _split(path)
        case Wireguard(link=path) | WireguardPeer(link=path):
            return _split(path)
        case Route(link=str(path)):
            return _split(path)
        case Route(sandbox=name):
            return name or None, None
        case _:
            return None, None


def within(resources: State, containers: Collection[str]) -> State:
    """Return what a state says of some containers: their sandboxes, endpoints, addresses and routes."""
    return {
        key: resources[key]
        for name in containers
        for key in resources
        if name in key.name and subject(resources[key])[0] == name  # the first is quick, and true of few
    }


def _split(path: str) -> tuple[str | None, str | None]:
    container, slash, network = path.partition("#")[0].rpartition("/")
    return (container if slash else None), network or None


def differences(desired: Resource, observed: Resource, *, exact: bool = False) -> tuple[str, ...]:
    """Return the names of the fields in which the observed resource is not as desired, nested ones dotted.

    `exact`: the desired one was observed before, so that no master means no master.
    """
    if desired == observed:
        return ()
    return tuple(_differing(desired, observed, "", _SAYING_NONE | {"master"} if exact else _SAYING_NONE))


_SAYING_NONE = frozenset({"via", "link"})
"""Fields whose None is a value: a route without a next hop, and one that leads nowhere."""


def _differing(desired: object, observed: object, prefix: str, saying_none: frozenset[str]) -> Iterator[str]:
    for one in fields(desired):  # type: ignore[arg-type]
        want = getattr(desired, one.name)
        if (want is None and one.name not in saying_none) or not one.compare:
            continue
        have, name = getattr(observed, one.name, None), prefix + one.name
        if isinstance(want, Mapping):
            yield from (f"{name}.{key}" for key in want if have is None or have.get(key) != want[key])
            if one.name == "sysctls" and have:  # the names of ours are in the link's alias: one too many is drift
                yield from (f"{name}.{key}" for key in have if key not in want)
        elif isinstance(want, Peer) and isinstance(have, Peer):
            yield from _differing(want, have, f"{name}.", saying_none)
        elif want != have:
            yield name


def value_of(resource: object, name: str) -> object:
    """Return the value of a field that `differences` named, None where there is none."""
    head, _, rest = name.partition(".")
    value: object = getattr(resource, head, None)
    if rest and isinstance(value, Mapping):
        return value.get(rest)
    return value_of(value, rest) if rest else value


def must_replace(desired: Resource, observed: Resource, changed: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the changed fields that the kernel can't change in place."""
    immutable = [name for name in changed if name in desired.IMMUTABLE]
    if "kind" in immutable:
        return ("kind",)  # all else is different because of it
    if isinstance(desired, Link) and isinstance(observed, Link):
        immutable += [name for name in changed if name == "peer"]  # the inner end is gone
        modes = {desired.options.get("mode"), observed.options.get("mode")}
        if desired.kind == "macvlan" and "options.mode" in changed and "passthru" in modes:
            immutable.append("options.mode")  # macvlan_changelink: EINVAL to and from passthru
        if desired.kind == "vxlan":
            immutable += _fixed_of_vxlan(observed, changed)
            immutable += ["parent"] if observed.parent and not desired.parent else []
        if VLANS in observed.tags and VLANS not in desired.tags and (desired.master or "").startswith("/"):
            immutable.append("tags")  # only a new port gets the VLAN that this bridge gives to all
    return tuple(immutable)


def _fixed_of_vxlan(observed: Link, changed: tuple[str, ...]) -> list[str]:
    """Return what vxlan_nl2conf of drivers/net/vxlan refuses to change: VNI, port, and the address's family."""
    families = {f"options.{name}" for name in ("local", "local6") if name not in observed.options}
    return [name for name in changed if name in ("options.id", "options.port") or name in families]
