"""From a checked tree to values: canonical spelling, defaults settled, addresses that are addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import Position, Problem
from ..networks import Bandwidth, SandboxRef, StaticRoute
from ..resources import Option
from . import ip
from .model import (
    AddressPool,
    ContainerSpec,
    DnsSpec,
    EndpointSpec,
    HostSpec,
    IpamConfig,
    Manifest,
    NetworkSpec,
    PortSpec,
    ServiceSpec,
)
from .tree import Map, Place, Seq


def build(root: Map, texts: Mapping[str, str], problems: list[Problem]) -> Manifest:
    """Return the manifest of a tree that the schema has checked.

    Values that are not what their texts should be are added to `problems` and left out.
    """
    from .loading import locate

    builder = _Builder(problems)
    networks = {name: builder.network(name, node or _EMPTY) for name, node in (root.get("networks") or {}).items()}
    in_host = _in_host(networks)
    containers: dict[str, ContainerSpec] = {}
    for name, node in (root.get("containers") or {}).items():
        containers[name] = builder.container(name, node or _EMPTY, in_host)
    return Manifest(
        project=root.get("project", ""),
        networks=networks,
        containers=containers,
        position=lambda *path: locate(root, path),
        default_address_pools=tuple(builder.pools(root.get("default_address_pools") or _NONE)),
        sources=texts,
        coexist=root.get("coexist"),
        hosts=dict(builder.hosts(root.get("hosts") or _EMPTY)),
        services=_services(root, builder) if root.get("services") else {},
        dns=root.get("dns"),
    )


def _services(root: Map, builder: _Builder) -> Mapping[str, ServiceSpec]:
    from .build_services import services

    return dict(services(root["services"], builder.complain))


def _options(node: Mapping[str, Any]) -> dict[str, Option]:
    """Return a driver's options: each one value, as JSON where it is a mapping or a list."""
    if not any(isinstance(value, Map | Seq) for value in node.values()):
        return dict(node)
    from .nested import option  # and json, which few manifests need

    return {name: option(value) for name, value in node.items()}


_EMPTY = Map(("", 1, 1))
_NONE = Seq(("", 1, 1))


def _in_host(networks: Mapping[str, NetworkSpec]) -> frozenset[str]:
    """Return the networks whose containers are in the host's own namespace."""
    from ..drivers import find

    traits = {spec.driver: find(spec.driver) for spec in networks.values()}
    return frozenset(
        name for name, spec in networks.items() if (driver := traits[spec.driver]) and driver.TRAITS.in_host
    )


_OURS = {
    "ipv6.conf.disable_ipv6": "a network without IPv6 gives no IPv6 addresses",
    "ipv6.conf.addr_gen_mode": "a network without IPv6 gives no IPv6 addresses",
    "ipv6.conf.mtu": "set the network's mtu",
}
"""Settings of an interface that follow from the rest of a manifest, with what says so there."""


class _Builder:
    __slots__ = ("problems",)

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def complain(self, at: Place, what: str, mend: str = "") -> None:
        self.problems.append(Problem(Position(*at), what, mend))

    def network(self, name: str, node: Map) -> NetworkSpec:
        ipam = tuple(self.ipam((node.get("ipam") or _EMPTY).get("config") or _NONE))
        return NetworkSpec(
            name=name,
            driver=node.get("driver", "bridge"),
            driver_opts=_options(node.get("driver_opts") or {}),
            enable_ipv4=node.get("enable_ipv4", True),
            enable_ipv6=node.get("enable_ipv6", any(":" in config.subnet for config in ipam)),
            internal=node.get("internal", False),
            external=node.get("external", False),
            protect=node.get("protect", False),
            mtu=node.get("mtu"),
            ipam=ipam,
            allow=tuple(node.get("allow") or ()),
            routes=tuple(self.routes(node.get("routes") or _NONE)),
            no_default_route=node.get("no_default_route", False),
            metric=node.get("metric"),
            labels=_pairs(node.get("labels")),
        )

    def ipam(self, configs: Seq) -> Iterator[IpamConfig]:
        for node in configs:
            subnet = self.prefix(node, "subnet")
            ip_range = self.prefix(node, "ip_range")
            gateway = self.address(node["gateway"], node.value_at["gateway"], "gateway") if "gateway" in node else None
            others = node.get("aux_addresses") or _EMPTY
            aux = {name: self.address(text, others.value_at[name], name) for name, text in others.items()}
            if subnet:
                yield IpamConfig(subnet, ip_range, gateway, {name: text for name, text in aux.items() if text})

    def routes(self, nodes: Seq) -> Iterator[StaticRoute]:
        for node in nodes:
            destination = self.prefix(node, "destination")
            via = self.address(node["via"], node.value_at["via"], "via") if "via" in node else None
            if destination:
                yield StaticRoute(destination, via, node.get("type", "unicast"), node.get("metric"))

    def pools(self, nodes: Seq) -> Iterator[AddressPool]:
        for node in nodes:
            if base := self.prefix(node, "base"):
                yield AddressPool(base, node["size"])

    def hosts(self, nodes: Map) -> Iterator[tuple[str, HostSpec]]:
        for name, node in nodes.items():
            has_one = bool(node) and "address" in node
            found = self.address(node["address"], node.value_at["address"], "address") if has_one else None
            if found:
                more = ("public_key", "private_key_file", "wireguard_port")
                yield name, HostSpec(name, found, **{key: node[key] for key in more if key in node})

    def container(self, name: str, node: Map, in_host: frozenset[str]) -> ContainerSpec:
        networks, host = node.get("networks") or _EMPTY, node.get("host")
        if isinstance(networks, Seq):
            endpoints = tuple(EndpointSpec(name, network, host=host) for network in networks)
        else:
            endpoints = tuple(
                self.endpoint(name, network, one, host) if one else EndpointSpec(name, network, host=host)
                for network, one in networks.items()
            )
        sandbox = node.get("sandbox")
        if sandbox is None:
            in_hosts = not in_host.isdisjoint(networks) if in_host else False
            ref = SandboxRef("host") if in_hosts else SandboxRef("netns", name, True)
        else:
            ref = self.reference(sandbox)
        dns, ports = self.dns(node) if "dns" in node else None, self.ports(node.get("ports"))
        return ContainerSpec(name, ref, endpoints, _pairs(node.get("labels")), host, ports, dns)

    def ports(self, nodes: Seq | None) -> tuple[PortSpec, ...]:
        if not nodes:
            return ()
        from . import build_ports  # few containers have some

        return tuple(build_ports.ports(nodes, self.complain))

    def reference(self, node: Map) -> SandboxRef:
        """Return where a container is that the manifest says it of."""
        details = {key: node[key] for key in ("socket", "namespace", "runtime", "root") if key in node}
        (kind,) = node.keys() - details.keys() - {"create"}
        if "socket" in details and kind not in ("docker", "podman", "containerd"):
            self.complain(node.key_at["socket"], f"a sandbox by {kind} has no socket", "remove it")
        if kind == "containerd":
            details.setdefault("namespace", "default")
        create = kind == "netns" and node.get("create", True)
        return SandboxRef(kind, str(node[kind]), create, tuple(details.items()))

    def endpoint(self, container: str, network: str, node: Map, host: str | None) -> EndpointSpec:
        mac = node.get("mac_address")
        return EndpointSpec(
            container=container,
            network=network,
            addresses=(*self.addresses(node, 4), *self.addresses(node, 6)),
            link_local_ips=tuple(self.link_locals(node.get("link_local_ips") or _NONE)),
            mac_address=None if mac is None else _mac(mac),
            interface_name=node.get("interface_name"),
            gw_priority=node.get("gw_priority", 0),
            sysctls=self.sysctls(node["sysctls"]) if node.get("sysctls") else {},
            driver_opts=_options(node.get("driver_opts") or {}),
            host=host,
            bandwidth=self.bandwidth(node["bandwidth"]) if node.get("bandwidth") else None,
            aliases=tuple(node.get("aliases") or ()),
        )

    def bandwidth(self, node: Map) -> Bandwidth | None:
        from . import bandwidth  # few endpoints have one

        return bandwidth.read(node, self.complain)

    def dns(self, node: Map) -> DnsSpec | None:
        from . import dns  # few containers say anything of it

        return dns.read(node, self.complain)

    def addresses(self, node: Map, family: int) -> Iterator[str]:
        key = "ipv4_address" if family == 4 else "ipv6_address"
        value = node.get(key)
        if value is None:
            return
        pairs = zip(value, value.item_at, strict=True) if isinstance(value, Seq) else [(value, node.value_at[key])]
        for text, at in pairs:
            found = self.address(text, at, key)
            if found and (":" in found) == (family == 6):
                yield found
            elif found:
                other = "ipv6_address" if family == 4 else "ipv4_address"
                self.complain(at, f"{key} is {text}, which is IPv{10 - family}", f"write it as {other}")

    def link_locals(self, nodes: Seq) -> Iterator[str]:
        for text, at in zip(nodes, nodes.item_at, strict=True):
            if not (found := self.address(text, at, "link_local_ips")):
                continue
            if any(ip.is_in(ip.address(found) or (0, 0), one) for one in _LINK_LOCAL):
                yield found
            else:
                mend = "such addresses are in 169.254.0.0/16 and fe80::/10"
                self.complain(at, f"{found} is not a link-local address", mend)

    def sysctls(self, node: Map | Seq) -> dict[str, str]:
        if isinstance(node, Map):
            given = [(name, str(value), node.key_at[name]) for name, value in node.items()]
        else:
            pairs = (text.partition("=") for text in node)
            given = [(name, value, at) for (name, _, value), at in zip(pairs, node.item_at, strict=True)]
        result: dict[str, str] = {}
        for name, value, at in given:
            short = self.sysctl(name, at)
            if short in result:
                self.complain(at, f"the setting {name} is given twice", "remove one")
            elif short and (mend := _OURS.get(short)):
                self.complain(at, f"the setting {name} is netapply's own to make", mend)
            elif short:
                result[short] = str(int(value)) if value.isdecimal() else value  # as the kernel writes numbers
        return result

    def sysctl(self, name: str, at: Place) -> str | None:
        """Return "ipv4.conf.rp_filter" for net.ipv4.conf.IFNAME.rp_filter, None where it is no such setting."""
        words = name.split(".")
        is_interface = len(words) == 5 and words[0] == "net" and words[1] in ("ipv4", "ipv6")
        if not is_interface or words[2] not in ("conf", "neigh") or not _is_plain_word(words[4]):
            what = f"{name[:80]!r} is not a setting of an interface"
            self.complain(at, what, "those are net.ipv4.conf.IFNAME.*, net.ipv6.conf.IFNAME.*, and neigh for conf")
            return None
        if words[3] != "IFNAME":
            mend = f"write net.{words[1]}.{words[2]}.IFNAME.{words[4]}"
            self.complain(at, f"the setting {name[:80]!r} names an interface", mend)
            return None
        return f"{words[1]}.{words[2]}.{words[4]}"

    def address(self, text: str, at: Place, key: str) -> str | None:
        found = ip.address(text)
        if found is None:
            mend = "an address has no prefix length here" if "/" in text else ""
            self.complain(at, f"{key} is {text[:60]!r}, which is not an address", mend)
            return None
        return ip.text(*found)

    def prefix(self, node: Map, key: str) -> str | None:
        """Return the canonical prefix under a key; of one with host bits, what it probably should be."""
        if key not in node:
            return None
        text, at = node[key], node.value_at[key]
        found = ip.prefix(text)
        if found is None:
            self.complain(at, f"{key} is {text[:60]!r}, which is not a prefix")
            return None
        one, has_bits = found
        if has_bits:
            self.complain(at, f"{key} {text} has bits set past its length", f"write {one}")
        return str(one)


_LINK_LOCAL = (ip.Prefix(4, 0xA9FE << 16, 16), ip.Prefix(6, 0xFE80 << 112, 10))  # RFC 3927, RFC 4291


def _is_plain_word(text: str) -> bool:
    return text.isascii() and text.replace("_", "a").isalnum() and len(text) <= 64


def _mac(text: str) -> str:
    digits = text.replace(":", "").replace("-", "").replace(".", "").lower()
    return f"{digits[:2]}:{digits[2:4]}:{digits[4:6]}:{digits[6:8]}:{digits[8:10]}:{digits[10:]}"


def _pairs(node: Any) -> dict[str, str]:
    """Return labels, which are a mapping or a list of KEY=VALUE, as a mapping of texts."""
    if not node:
        return {}
    if isinstance(node, Seq):
        return {key: value for key, _, value in (text.partition("=") for text in node)}
    return {key: _label(value) for key, value in node.items()}


def _label(value: str | int | float | bool | None) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
