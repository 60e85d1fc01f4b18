"""What is said of manifests whose networks can't stand where they want to, or give the host what it asks for."""

from __future__ import annotations

import io

import pytest

from reconciler.manifest import load

from .test_manifest_messages import complaints

LAN = (
    "project: p\nnetworks:\n  lan:\n    driver: {driver}\n    driver_opts: {{parent: eth0, {opts}}}\n    ipam: {ipam}\n"
)
IPAM = "{config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.1, aux_addresses: {printer: 10.0.0.9}}]}"
WEB = "containers:\n  web: {networks: {lan: {ipv4_address: 10.0.0.7}}}\n"


def lan(opts: str, driver: str = "macvlan", more: str = WEB) -> str:
    return LAN.format(driver=driver, opts=opts, ipam=IPAM) + more


def two(first: str, second: str) -> str:
    """Return a manifest of networks a and b, each with its driver and driver_opts, and a container."""
    return (
        f"project: p\nnetworks:\n  a: {{{first}}}\n  b: {{{second}}}\n"
        "containers: {one: {networks: [a]}, two: {networks: [b]}}\n"
    )


ON_ETH0 = "driver_opts: {parent: eth0"
MAC = "containers:\n  web: {networks: {lan: {mac_address: '02:00:00:00:00:01'}}}\n"
MESSAGES = [
    (
        lan("host_access: yes please"),
        "5:46: host_access is 'yes please', which is not an address; give true, an address",
    ),
    (lan("host_access: 10.0.0.5/24"), "5:46: host_access is '10.0.0.5/24', which is not an address"),
    (lan("host_access: 5"), "5:46: host_access is '5', which is not an address"),
    (lan("host_access: [10.0.0.5, 10.0.0.6]"), "5:33: host_access has two IPv4 addresses; give one of each family"),
    (lan("host_access: []"), "5:46: host_access has 0 entries, and must have between 1 and 2"),
    (lan("host_access: 10.0.1.5"), "5:46: 10.0.1.5 is in no subnet of network lan (10.0.0.0/24); choose"),
    (lan('host_access: "fd00::5"'), "5:46: fd00::5 is IPv6, which network lan does not have; set enable_ipv6: true"),
    (lan("host_access: 10.0.0.1"), "5:46: 10.0.0.1 is the gateway of network lan; choose another address"),
    (lan("host_access: 10.0.0.9"), "5:46: 10.0.0.9 is the aux address printer of network lan; choose another"),
    (lan("host_access: 10.0.0.255"), "5:46: 10.0.0.255 is the broadcast address of network lan; choose another"),
    (lan("host_access: 10.0.0.7"), "8:40: 10.0.0.7 is the host_access address of network lan; choose another"),
    (
        lan("mode: passthru, host_access: true"),
        "5:62: in mode passthru one endpoint has the parent for itself, so that the host has no access; use mode",
    ),
    (
        lan("mode: private, host_access: true"),
        "5:61: in mode private nobody on it reaches anybody else, so that the host has no access; use mode",
    ),
    (
        lan("flag: vepa, host_access: true", "ipvlan"),
        "5:58: with flag vepa nothing on the parent reaches the host's link there; use flag bridge",
    ),
    (lan("mode: l4", "ipvlan"), "5:39: mode must be l2, l3 or l3s, not 'l4'"),
    (lan("ipvlan_mode: l3", "ipvlan"), "5:33: unknown key ipvlan_mode in driver_opts of ipvlan; write mode"),
    (
        lan("mode: l2", "ipvlan", MAC),
        "8:39: container web has its parent's MAC on ipvlan network lan, and no other; remove mac_address, or use",
    ),
    (
        lan("mode: l2", "ipvlan", "    allow: [front]\n  front:\n"),
        "7:5: packets of an ipvlan network do not pass the host, so that nothing can be allowed or forbidden there",
    ),
    (
        two(f"driver: macvlan, {ON_ETH0}}}", f"driver: ipvlan, {ON_ETH0}}}"),
        "4:15: network b has links of kind ipvlan, and network a, on the same parent eth0, has macvlan; give one of",
    ),
    (
        two(f"driver: ipvlan, {ON_ETH0}}}", f"driver: ipvlan, {ON_ETH0}, mode: l3}}"),
        "4:57: network b has mode l3, and network a, on the same parent eth0, has l2, which is the parent's own; make",
    ),
    (
        two(f"driver: ipvlan, {ON_ETH0}, flag: private}}", f"driver: ipvlan, {ON_ETH0}}}"),
        "4:23: network b has flag bridge, and network a, on the same parent eth0, has private, which is the parent's",
    ),
]


@pytest.mark.parametrize(("text", "said"), MESSAGES, ids=[said for _, said in MESSAGES])
def test_what_is_wrong_is_said_with_its_place_and_its_mend(text: str, said: str) -> None:
    (found,) = complaints(text)
    assert found[: len(said)] == said


@pytest.mark.parametrize("second", [f"driver: macvlan, {ON_ETH0}.5}}", f"driver: ipvlan, {ON_ETH0}}}"])
def test_networks_that_go_together_are_good(second: str) -> None:
    load(["-"], {}, io.StringIO(two(f"driver: ipvlan, {ON_ETH0}}}", second)))


def test_a_network_without_containers_takes_nothing_of_its_parent() -> None:
    text = two(f"driver: macvlan, {ON_ETH0}}}", f"driver: ipvlan, {ON_ETH0}}}").replace(
        "two: {networks: [b]}", "two: {}"
    )
    load(["-"], {}, io.StringIO(text))


def test_two_internal_networks_in_mode_passthru_have_a_parent_each() -> None:
    inner = "driver: macvlan, internal: true, driver_opts: {mode: passthru}"
    load(["-"], {}, io.StringIO(two(inner, inner)))
