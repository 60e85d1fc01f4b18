"""What holds for every allocation."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifest.model import EndpointSpec, IpamConfig, Manifest
from reconciler.networks import Topology

from .allocation import endpoint, manifest, network, settled, standing

NETWORKS = st.builds(
    lambda choice, ipv6, name: network(
        name, *choice, enable_ipv6=ipv6 or any(":" in str(one) for one in choice), driver="bridge"
    ),
    st.sampled_from([(), (), ("0.0.0.0/27",), ("0.0.0.0/28", "::/120")]),
    st.booleans(),
    st.just(""),
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    names = draw(st.lists(st.sampled_from(["back", "cache", "front", "lan", "mesh"]), unique=True, max_size=5))
    networks = [replace(draw(NETWORKS), name=name) for name in names]
    fixed = draw(st.sampled_from(["", *names]))
    if fixed:  # one is pinned, small, and has pinned addresses
        config = IpamConfig("10.20.0.0/28", aux_addresses={"printer": "10.20.0.9"})
        networks = [replace(one, ipam=(config,)) if one.name == fixed else one for one in networks]
    pins = draw(st.permutations([f"10.20.0.{last}" for last in range(2, 9)]))
    containers: dict[str, list[EndpointSpec | str]] = {}
    boxes = st.sampled_from([f"c{number}" for number in range(9)])
    for at, name in enumerate(draw(st.lists(boxes, unique=True, max_size=9))):
        chosen = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        containers[name] = [
            endpoint(one, pins[at], gw_priority=at % 2) if one == fixed and at < 3 and draw(st.booleans()) else one
            for one in chosen
        ]
    return manifest(networks, containers)


def addresses(topology: Topology) -> dict[str, tuple[str, ...]]:
    return {one.path: one.addresses for net in topology.networks for one in net.endpoints}


@given(manifests())
def test_addresses_are_distinct_inside_and_never_reserved(declared: Manifest) -> None:
    found = settled(declared)
    subnets = [ipaddress.ip_network(subnet.cidr) for net in found.networks for subnet in net.subnets]
    assert not any(
        one.version == other.version and one.overlaps(other) for at, one in enumerate(subnets) for other in subnets[:at]
    )
    seen: set[object] = set()
    for net in found.networks:
        gateways = {subnet.gateway for subnet in net.subnets}
        for one in net.endpoints:
            families = [ipaddress.ip_interface(address) for address in one.addresses]
            assert [address.version for address in families] == [subnet.family for subnet in net.subnets]
            for address in families:
                assert str(address.network) in {subnet.cidr for subnet in net.subnets}
                assert str(address.ip) not in {*gateways, "10.20.0.9", str(address.network.network_address)}
                assert address.version == 6 or address.ip != address.network.broadcast_address
                assert address.ip not in seen
                seen.add(address.ip)


@given(manifests())
def test_what_stands_is_allocated_again_as_it_is(declared: Manifest) -> None:
    first = settled(declared)
    assert settled(declared, state=standing(first)) == first


@given(manifests(), st.randoms())
def test_the_order_of_the_manifest_does_not_matter(declared: Manifest, random: Any) -> None:
    networks, containers = list(declared.networks.items()), list(declared.containers.items())
    random.shuffle(networks)
    random.shuffle(containers)
    assert settled(replace(declared, networks=dict(networks), containers=dict(containers))) == settled(declared)


@given(manifests(), st.data())
def test_what_comes_and_goes_renumbers_nobody(declared: Manifest, data: st.DataObject) -> None:
    """Any part of a manifest stands; then all of it is declared, and what stood keeps its subnets and addresses."""
    gone = data.draw(st.sets(st.sampled_from(sorted(declared.networks)))) if declared.networks else set()
    missing = data.draw(st.sets(st.sampled_from(sorted(declared.containers)))) if declared.containers else set()
    part = replace(
        declared,
        networks={name: one for name, one in declared.networks.items() if name not in gone},
        containers={
            name: replace(one, endpoints=tuple(end for end in one.endpoints if end.network not in gone))
            for name, one in declared.containers.items()
            if name not in missing
        },
    )
    before = settled(part)
    pinned = {
        address.partition("/")[0]
        for container in declared.containers.values()
        for end in container.endpoints
        for address in end.addresses
    }
    after = settled(declared, state=standing(before))
    subnets = {net.name: net.subnets for net in after.networks}
    later = addresses(after)
    for net in before.networks:
        assert subnets[net.name] == net.subnets
    for path, had in addresses(before).items():
        if not pinned & {address.partition("/")[0] for address in had}:
            assert later[path] == had
    back = addresses(settled(part, state=standing(after)))
    for path, had in addresses(before).items():
        if later[path] == had:
            assert back[path] == had
