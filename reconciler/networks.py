"""Networks with everything settled: what a driver lowers into resources.

`reconciler.allocate` makes them from the manifest and the host's facts. Nothing is left open in them: addresses, MACs,
names, MTU and default routes are values, so that lowering is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .resources import Netns, Option


class SandboxRef(NamedTuple):
    """Where a container's namespace is: `kind` is "netns", "pid" or "host"; `create` it if it is missing."""

    kind: str
    value: str = ""
    create: bool = False

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind


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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's attachment to a network.

    `addresses` are all of them with prefix lengths. `routes` are those that the sandbox gets by this endpoint, the
    default routes (if this endpoint carries them) and the network's static ones among them.
    """

    container: str
    network: str
    interface_name: str
    mac: str
    addresses: tuple[str, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    driver_opts: Mapping[str, Option] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class Network:
    """A network, settled. `default_parent` is the host's link for drivers that need one and were told none.

    `allow` names the networks that this one may open connections to. Endpoints that are pending (their container does
    not run) are not among `endpoints`.
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
    default_parent: str | None = None

    @property
    def ipv4(self) -> bool:
        return any(subnet.family == 4 for subnet in self.subnets)

    @property
    def ipv6(self) -> bool:
        return any(subnet.family == 6 for subnet in self.subnets)


@dataclass(frozen=True, slots=True)
class Topology:
    """All of a project, settled: the sandboxes that there are or should be, and the networks between them.

    `pending` says, by container, why it has no namespace that could be attached yet.
    """

    project: str
    sandboxes: tuple[Netns, ...] = ()
    networks: tuple[Network, ...] = ()
    pending: Mapping[str, str] = field(default_factory=dict)
