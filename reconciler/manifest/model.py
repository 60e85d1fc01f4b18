"""What a manifest declares, as values: checked, but with all that was left open still open.

Addresses and prefixes are in canonical spelling ("fd00::1", "10.20.0.0/24"), MACs in lower case with colons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..errors import Position
from ..networks import Bandwidth, SandboxRef, ServicePort, StaticRoute
from ..resources import Option
from ..values import dataclass, field


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """One entry of ipam.config. A subnet of "0.0.0.0/24" or "::/64" gives a size only; ip_range limits dynamic ones."""

    subnet: str
    ip_range: str | None = None
    gateway: str | None = None
    aux_addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AddressPool:
    """An entry of default_address_pools: subnets of prefix length `size` are cut from `base`."""

    base: str
    size: int


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network as declared. `enable_ipv6` is settled by the loader: true also where an IPv6 subnet is given."""

    name: str
    driver: str = "bridge"
    driver_opts: Mapping[str, Option] = field(default_factory=dict)
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    internal: bool = False
    external: bool = False
    protect: bool = False
    mtu: int | None = None
    ipam: tuple[IpamConfig, ...] = ()
    allow: tuple[str, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    no_default_route: bool = False
    metric: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A container's attachment as declared. `addresses` are the pinned ones, both families, without prefix length.

    `host` is the container's.
    """

    container: str
    network: str
    addresses: tuple[str, ...] = ()
    link_local_ips: tuple[str, ...] = ()
    mac_address: str | None = None
    interface_name: str | None = None
    gw_priority: int = 0
    sysctls: Mapping[str, str] = field(default_factory=dict)
    driver_opts: Mapping[str, Option] = field(default_factory=dict)
    host: str | None = None
    bandwidth: Bandwidth | None = None
    aliases: tuple[str, ...] = ()


class PortSpec(NamedTuple):
    """A published port as declared. `number` is that of its entry in `ports`, which may be a range, and so many ports.

    `host_ip` None: what the network says, else all the host's addresses. `published` None: a free one of the host's.
    """

    number: int
    protocol: str
    host_ip: str | None
    published: int | None
    target: int


class DnsSpec(NamedTuple):
    """How a container looks up names: `servers` are asked for what no container is called, () are the host's.

    `off`: as it likes, with no resolver and no resolv.conf of netapply's.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    off: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container as declared; its endpoints in the order of the manifest. `host` None: there is one on every host."""

    name: str
    sandbox: SandboxRef
    endpoints: tuple[EndpointSpec, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    ports: tuple[PortSpec, ...] = ()
    dns: DnsSpec | None = None


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service as declared. `containers` and the keys of `weights` are names or patterns (`service_members`).

    `vip` are the pinned addresses, one of a family at most; `mode` is "vip" or "dnsrr". Without `ports`: all of them.
    `affinity`: whether all connections of a client go to one container.
    """

    name: str
    network: str
    containers: tuple[str, ...]
    mode: str = "vip"
    vip: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    affinity: bool = False
    weights: Mapping[str, int] = field(default_factory=dict)


class HostSpec(NamedTuple):
    """A host as declared: `address` is where the others reach it.

    The rest is for encrypted networks: WireGuard's public key (44 characters of base64), the file on that host with the
    private one, and the UDP port that it is reached at.
    """

    name: str
    address: str
    public_key: str | None = None
    private_key_file: str = "/etc/netapply/wireguard.key"
    wireguard_port: int = 51820


@dataclass(frozen=True, slots=True)
class Manifest:
    """One or several manifest files, merged. `position` finds where something is said, by its path in the document.

    `position("networks", "front", "mtu")` falls back to the nearest parent that the files do say. `sources` are the
    texts of the files by name (`errors.source_line` finds a position's line in them). `here` is the one of `hosts` that
    this is, once that is known (`reconciler.placement`).
    """

    project: str
    networks: Mapping[str, NetworkSpec]
    containers: Mapping[str, ContainerSpec]
    position: Callable[..., Position] = field(compare=False)
    default_address_pools: tuple[AddressPool, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    hosts: Mapping[str, HostSpec] = field(default_factory=dict)
    here: str | None = None
    services: Mapping[str, ServiceSpec] = field(default_factory=dict)
    dns: bool | None = None
    coexist: str | None = None

    @property
    def named(self) -> bool:
        """Whether containers find each other by name: as said, else where a container uses a word that is for that."""
        if self.dns is not None:
            return self.dns
        return any(
            (one.dns and not one.dns.off) or any(end.aliases for end in one.endpoints)
            for one in self.containers.values()
        )

    @property
    def containers_here(self) -> Mapping[str, ContainerSpec]:
        """The containers that are on this host; all of them where it is not known which that is."""
        if self.here is None:
            return self.containers
        return {name: one for name, one in self.containers.items() if one.host in (None, self.here)}
