"""The only door to effects: what a host can be asked and told.

There are two hosts: `reconciler.host.linux.LinuxHost` and `reconciler.host.fake.FakeHost`, a strict one in memory for
tests. One conformance test runs the same lists of changes through both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from ..errors import OperationFailed
from ..networks import SandboxRef
from ..plan import Change
from ..resources import Key, Option, State
from ..values import dataclass, field

VLAN_FILTERING = "bridge vlan_filtering"
"""What a kernel may lack though it makes bridges (see `Host.lacking`)."""

SHAPING = "traffic shaping"
"""What a kernel may lack: the queue tbf, the filter u32, the action mirred."""


class Listener(NamedTuple):
    """A port of the host that is taken: `address` is "0.0.0.0" or "::" for all of a family.

    `who` has it, in words: "nginx (process 4242)", "container web of project shop"; "the firewall chain ip nat
    DOCKER" leads it elsewhere. `link` is the one that alone it listens on, "" for all.
    """

    protocol: str
    address: str
    port: int
    who: str
    link: str = ""


MAIN_RULE = 32766
"""The priority of the rule by which the main table is looked at (net/ipv4/fib_rules.c)."""


class Rule(NamedTuple):
    """A rule of others by which the host may send packets of a `family` (4, 6) elsewhere than its main table has it.

    It is for those from `source` to `target` (prefixes, "" for all), by the link `link` ("" for any, "lo" for what the
    host itself sends), of a `protocol` ("" for all), that somebody has given a `mark` (the bits in `mask`), or with
    `inverted` for all others. `special`: it is for some that nothing of ours is among. `vague`: it looks at more than
    is told of here. `routes` are the destinations that its table has a route for, `links` by which of the host's links:
    "" where packets are dropped, "?" where not known. `text` is as `ip rule` has it. With `beyond` it has all look at
    the main table first, at routes of longer prefixes than that. From the priority `MAIN_RULE` on, it is asked where
    the main table has no route, and only then are `links` known.
    """

    family: int
    priority: int
    text: str
    source: str = ""
    target: str = ""
    link: str = ""
    protocol: str = ""
    special: bool = False
    inverted: bool = False
    routes: tuple[str, ...] = ()
    beyond: int | None = None
    mark: int = 0
    mask: int = 0
    links: tuple[str, ...] = ()
    vague: bool = False


class Told(NamedTuple):
    """What files tell who looks up a name: the texts of its hosts file and resolv.conf, None where they can't be seen.

    `whose` are words for the hosts file. `domain` is that of the host name, "" for none.
    """

    hosts: str | None
    resolv: str | None
    whose: str = "its /etc/hosts"
    domain: str = ""


class Scope(NamedTuple):
    """What to observe: one project, and where the manifest says that its containers are.

    `shaped`: it says of some how fast they may be, so that queues matter that are somebody else's. `publishes`: it says
    which ports of the host lead to them, so that it matters who has these protocols and ports (0: a free one).
    `named`: they find each other by name, so that it matters who listens on the host. `docker`: it says
    `coexist: docker`. `alone` are the containers that may have to have a resolver of their own, so that it matters who
    listens there.
    """

    project: str
    sandboxes: Mapping[str, SandboxRef]
    shaped: bool = False
    named: bool = False
    publishes: frozenset[tuple[str, int]] | None = None
    docker: bool = False
    alone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HostLink:
    """A link in the host's namespace that is not this project's. `owner` is a project's name, or None: foreign.

    `master` is the name of what it is a port of. `routes` are the prefixes, default routes among them, that leave by
    it, the kernel's own for addresses aside. `vlan_filtering` is a bridge's. One that is in a bridge of the project's
    because its manifest says so is described as it was found (`resources.Port`).
    """

    name: str
    kind: str
    mtu: int
    up: bool
    owner: str | None = None
    addresses: tuple[str, ...] = ()
    master: str | None = None
    routes: tuple[str, ...] = ()
    vlan_filtering: bool = False


class Upper(NamedTuple):
    """A link that is not this project's and stands on one in the host's namespace.

    `below` is the name of that one, `place` the namespace of this one, as "netns:web", "" for the host's. `options` are
    those of its kind, as those of `resources.Link`.
    """

    name: str
    kind: str
    below: str
    place: str = ""
    options: Mapping[str, Option] = MappingProxyType({})


class Guest(NamedTuple):
    """What is not this project's, and may go with what is: a link in a namespace that the project made, or on a link of
    its own in any but the host's; an address or a route on a link of its own in the host's.

    `sandbox` is the namespace, as `Netns.sandbox` has it, `kind` that of the link, "address" or "route", `below` the
    path of the project's link that it is on, "" for none.
    """

    sandbox: str
    name: str
    kind: str
    below: str = ""


class Unwritten(NamedTuple):
    """Why netapply leaves a container's resolv.conf alone. `servers` are whom it names.

    An engine's own resolver is in it ("docker", "podman"), several containers of the manifest share a namespace
    ("shared"), it is somebody else's ("theirs"), or there is "none" and none can be made.
    """

    why: Literal["docker", "podman", "shared", "theirs", "none"]
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host is like, this project's own objects aside. Values, so that allocating and lowering are pure.

    - `links` are by name. `default_link` is the one that the IPv4 default route (else IPv6's) leaves by.
    - `routes` are the prefixes in the host's main table, default routes and those over this project's links left out;
      `nameservers` those of its resolver.
    - `pending` says why a container has no namespace yet; `in_host` names those whose sandbox is the host's own.
    - `unsure` says of containers whose runtime does not know them to run, or can't be asked, why; they are taken to be
      in the namespace that their endpoints are in. `together` are, by container, all those in its namespace, where it
      is not alone.
    - `taken` says what stands where something of ours might have to go, in words ("a bridge that netapply did not
      make"). Keys are those of resources, but for links, which are keyed by sandbox and interface name:
      Key("link", "web eth0"), in the host's namespace Key("link", " br0").
    - `docker` are the families (4, 6) in which Docker has a chain DOCKER-USER, if somebody wants to know.
    - `uppers` are others' links on the host's, those that stand on the project's own among them. `guests` are those in
      other namespaces, and what others have given to the project's links in the host's.
    - `guard` are the links among which the host's guard table drops forwarding, by family (4, 6).
    - `busy_ports` are those that somebody listens on, by TCP or UDP, where the scope says that it matters.
    - `listening` are the ports that are taken, by processes or by other projects, where the scope says that it matters.
      `ephemeral` are the first and the last of those that the host takes for connections of its own, and `led` are
      those among FREE_PORTS that rules of others may lead elsewhere, where the scope wants a free one.
    - `resolv_confs` are the containers of runtimes whose resolv.conf netapply may write, or make; `unwritten` says why
      it leaves those of the others alone: both where names matter. `resolved` are those that Docker has given its own
      resolver, in words, and `upstreams` whom the host asks and others can ask, too: both where it matters to
      `Scope.alone`.
    - `accept_ra` are the links that take router advertisements and would stop to once IPv6 forwarding is on.
    """

    links: Mapping[str, HostLink] = field(default_factory=dict)
    default_link: str | None = None
    routes: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    pending: Mapping[str, str] = field(default_factory=dict)
    in_host: frozenset[str] = frozenset()
    taken: Mapping[Key, str] = field(default_factory=dict)
    forwarding_ipv4: bool = False
    forwarding_ipv6: bool = False
    accept_ra: tuple[str, ...] = ()
    guard: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    uppers: tuple[Upper, ...] = ()
    guests: tuple[Guest, ...] = ()
    docker: frozenset[int] = frozenset()
    busy_ports: frozenset[int] = frozenset()
    resolv_confs: frozenset[str] = frozenset()
    unwritten: Mapping[str, Unwritten] = field(default_factory=dict)
    resolved: Mapping[str, str] = field(default_factory=dict)
    upstreams: tuple[str, ...] = ()
    listening: tuple[Listener, ...] = ()
    ephemeral: tuple[int, int] = (32768, 60999)
    led: frozenset[int] = frozenset()
    unsure: Mapping[str, str] = field(default_factory=dict)
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ASIDE = (
    *("prerouting", "postrouting", "ingress", "netdev ingress", "netdev egress"),
    *("bridge prerouting", "bridge input", "bridge forward", "bridge output", "bridge postrouting"),
)
"""Hooks of `Filter` at which netapply's own rules decide nothing: see `reconciler.aside`."""


class Filter(NamedTuple):
    """A base chain of somebody else's that packets pass which come in ("input"), are forwarded ("forward") or are sent
    by the host ("output"); or one that may lead to another address or port what the host is sent, or sends ("nat").

    Other hooks are named as nft has them, those of other families with these ("bridge forward", "netdev ingress").
    `family` is ip, ip6 or inet, else such a one, `text` its whole table as nft lists it. `legacy`: it is of the
    iptables of old, and the text is what `iptables -S` prints.
    """

    family: str
    table: str
    chain: str
    hook: str
    priority: int
    policy: str
    text: str = ""
    legacy: bool = False


class Observation(NamedTuple):
    """One look at a host: what the project has there, and what else there is."""

    state: State
    facts: Facts


class Result(NamedTuple):
    """What became of one change: `error` is None when it was done."""

    change: Change
    error: OperationFailed | None = None


class Host(Protocol):
    """Where netapply acts. Not thread-safe."""

    def observe(self, scope: Scope) -> Observation:
        """Look, and change nothing. Raises NotPermitted where it may not look."""

    def addresses(self) -> frozenset[str]:
        """Return the addresses of the host's own namespace, without prefix lengths. Raises as `observe` does."""

    def observe_near(self, scope: Scope, containers: Collection[str]) -> State:
        """Look at some of the scope's containers only, and at what their endpoints are on. Raises as `observe` does.

        The state is what `resources.within` leaves of the whole. It is no ground for changes: nothing that stands in
        their way shows in it.
        """

    def lacking(self, kinds: Collection[str]) -> Collection[str]:
        """Return those kinds of link that the kernel can't make, by trying. Changes nothing. Raises as `observe`.

        VLAN_FILTERING may be among them: whether bridges can filter VLANs; and SHAPING.
        """

    def filters(self, hooks: Collection[str] = ("input", "forward")) -> Sequence[Filter]:
        """Return the base chains of others that packets of networks pass. Changes nothing. Raises as `observe` does.

        Those of the hook "nat" may be other projects' of netapply's.
        """

    def listeners(self, containers: Collection[str]) -> Mapping[str, Mapping[str, Sequence[Listener]]]:
        """Return what listens in the namespaces of containers, as last observed, by protocol; "" is the host's own.

        What can't be looked into is left out, and so are protocols of which the kernel does not tell. Changes nothing.
        """

    def told(self, containers: Collection[str]) -> Mapping[str, Told]:
        """Return what files tell containers, as last observed, of names; "" is the host. Changes nothing.

        Left out is who has no namespace.
        """

    def rules(self) -> Sequence[Rule]:
        """Return the rules of others by which the host routes, but for its main table. Changes nothing.

        Raises as `observe` does.
        """

    def make_key(self, path: str) -> bool:
        """Make a file with a private key of WireGuard, for root alone; False where there is a file already.

        Raises NotPermitted and OperationFailed.
        """

    def public_key(self, path: str) -> str:
        """Return the public key of WireGuard that belongs to the private one in a file, as `wg pubkey` prints it.

        Raises HostLacks where there is none, or others than root may read it.
        """

    def canonical(self, desired: State) -> State:
        """Return the desired state in the form in which `observe` would report it (nft text as nft lists it)."""

    def apply(self, changes: Sequence[Change]) -> Iterator[Result]:
        """Make the changes, in order, and yield a result for each once it is known.

        Does not stop at a failure: the caller does, by not asking for more. Up to a batch of changes after a failed one
        may have been made by then, none that requires what failed; to observe again is the only way to know.
        """

    def lock(self, timeout: float) -> AbstractContextManager[None]:
        """Hold the host's lock, waiting for it `timeout` seconds at most. Raises LockHeld."""

    def release(self) -> None:
        """Let go of what was kept for rolling back (descriptors of deleted namespaces)."""
