"""Manifests and hosts for the tests of the allocation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reconciler import drivers
from reconciler.allocation.allocate import allocate
from reconciler.errors import ManifestError, Position
from reconciler.firewall import Zone
from reconciler.host import Facts, HostLink, Observation
from reconciler.manifest.model import AddressPool, ContainerSpec, EndpointSpec, IpamConfig, Manifest, NetworkSpec
from reconciler.networks import Endpoint, Network, SandboxRef, Topology
from reconciler.resources import Resource, State, state

ETH0 = HostLink("eth0", "", 1500, up=True, addresses=("192.0.2.5/24", "fe80::5/64"))
WLAN0 = HostLink("wlan0", "", 1400, up=True, addresses=("198.51.100.5/24",))
FACTS = Facts(
    links={"lo": HostLink("lo", "", 65536, up=True, addresses=("127.0.0.1/8", "::1/128")), "eth0": ETH0},
    default_link="eth0",
    routes=("192.0.2.0/24",),
)


def network(name: str, *ipam: IpamConfig | str, **more: Any) -> NetworkSpec:
    return NetworkSpec(name, ipam=tuple(IpamConfig(one) if isinstance(one, str) else one for one in ipam), **more)


def endpoint(name: str, *addresses: str, **more: Any) -> EndpointSpec:
    """An endpoint whose container `manifest` fills in."""
    return EndpointSpec("", name, addresses, **more)


def manifest(
    networks: Sequence[NetworkSpec],
    containers: Mapping[str, Sequence[EndpointSpec | str]] | None = None,
    sandboxes: Mapping[str, SandboxRef] | None = None,
    pools: Sequence[AddressPool] = (),
) -> Manifest:
    specs = {}
    for name, ends in (containers or {}).items():
        endpoints = [replace(endpoint(end) if isinstance(end, str) else end, container=name) for end in ends]
        reference = (sandboxes or {}).get(name, SandboxRef("netns", name, create=True))
        specs[name] = ContainerSpec(name, reference, tuple(endpoints))

    def position(*path: object) -> Position:
        return Position("/".join(map(str, path)), 1, 1)

    return Manifest("shop", {one.name: one for one in networks}, specs, position, tuple(pools))


def standing(topology: Topology) -> State:
    """Return the state in which a host is once the topology stands on it."""
    resources: list[Resource] = list(topology.sandboxes)
    for one in topology.networks:
        driver = drivers.find(one.driver)
        assert driver
        resources += [item for item in driver.lower(one) if not isinstance(item, Zone)]
    return state(resources)


def settled(manifest: Manifest, facts: Facts = FACTS, state: State | None = None) -> Topology:
    return allocate(manifest, Observation(state or {}, facts))


def net(topology: Topology, name: str) -> Network:
    return next(one for one in topology.networks if one.name == name)


def end(topology: Topology, path: str) -> Endpoint:
    return next(one for net in topology.networks for one in net.endpoints if one.path == path)


def problems(manifest: Manifest, facts: Facts = FACTS, state: State | None = None) -> list[tuple[str, str]]:
    with pytest.raises(ManifestError) as caught:
        settled(manifest, facts, state)
    return [(problem.position.file, problem.what) for problem in caught.value.problems]
