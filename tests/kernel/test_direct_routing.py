"""Overlays whose packets go as they are between hosts on one link: to and from those behind a router they do not."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from tests.cluster import Frame, Host, add_host_behind, apply, captured, cluster
from tests.machine import Machine

from .test_overlay import SHOP

WHERE = {"web": "one", "db": "two", "cache": "three"}

ARRIVES_WITHIN = 10
"""Seconds to wait for what must arrive, however busy the machine is."""

underlays = pytest.mark.parametrize("underlay", [4, 6], ids=["over-ipv4", "over-ipv6"])


@pytest.fixture
def hosts(host: Machine) -> dict[str, Host]:
    """Two hosts on one link, and one behind a router, which is the isolated host."""
    found = cluster(host, ("one", "two"))
    for one in found.values():  # as the kernel gives it to a link; a router asks for its neighbours by it
        one.run(f"ip addr add fe80::{one.number}/64 dev eth0 nodad")
    return {**found, "three": add_host_behind(host, "three", 3)}


def shop(hosts: dict[str, Host], underlay: int) -> str:
    """Return the manifest: a container on each host."""
    addresses = ", ".join(f'{name}: {{address: "{host.address_of(underlay)}"}}' for name, host in hosts.items())
    return SHOP.format(
        hosts=f"{{{addresses}}}",
        options="mode: l3, direct_routing: true",
        subnet4="10.50.0.0/20",
        subnet6="fd00:50::/64",
        network="",
        containers="\n".join(f"  {name}: {{host: {where}, networks: [front]}}" for name, where in WHERE.items()),
    )


def address(hosts: dict[str, Host], name: str, family: int) -> str:
    return hosts[WHERE[name]].address(name, family)


def in_vxlan(host: Machine, hosts: dict[str, Host], one: str, other: str, family: int) -> set[str]:
    """Have a container connect to another and be answered; return those of the two whose packets went in VXLAN."""
    client, server = (hosts[WHERE[name]].container(name) for name in (one, other))
    own, there = (address(hosts, name, family) for name in (one, other))
    with captured() as frames:
        assert host.tcp(client, server, there, within=ARRIVES_WITHIN) == own
        assert host.udp(client, server, there, within=ARRIVES_WITHIN) == own
    senders = {source(frame) for frame in frames}
    return {name for name in (one, other) if address(hosts, name, family) in senders}


def source(frame: Frame) -> str:
    """Return the source address of the packet in a frame."""
    return str(ip_address(frame.payload[12:16] if frame.kind == 0x0800 else frame.payload[8:24]))


@underlays
def test_packets_go_as_they_are_between_hosts_on_one_link_and_in_vxlan_to_and_from_one_behind_a_router(
    host: Machine, hosts: dict[str, Host], underlay: int
) -> None:
    apply(hosts, shop(hosts, underlay))  # and once more to no effect
    for family in (4, 6):
        straight = family == underlay  # the other family has no way but VXLAN
        assert in_vxlan(host, hosts, "web", "db", family) == (set() if straight else {"web", "db"})
        for near in ("web", "db"):
            assert in_vxlan(host, hosts, near, "cache", family) == {near, "cache"}
            assert in_vxlan(host, hosts, "cache", near, family) == {near, "cache"}


@underlays
def test_a_host_that_moves_behind_a_router_is_sent_to_in_vxlan_from_the_next_run_on(
    host: Machine, hosts: dict[str, Host], underlay: int
) -> None:
    apply(hosts, shop(hosts, underlay))
    assert in_vxlan(host, hosts, "web", "db", underlay) == set()
    for one in ("one", "two"):  # each has an address of its own link now, and nobody on it
        family, wide, own = ("-4", 24, 32) if underlay == 4 else ("-6", 64, 128)
        mine, router = hosts[one].address_of(underlay), "192.0.2.254" if underlay == 4 else "2001:db8:2::fe"
        lines = [f"addr del {mine}/{wide} dev eth0", f"addr add {mine}/{own} dev eth0{' nodad' * (underlay == 6)}"]
        lines += [f"route add {router} dev eth0", f"route replace default via {router} dev eth0"]
        hosts[one].run(["ip", family, "-batch", "-"], stdin="\n".join(lines))
    host.sysctl("net.ipv4.conf.lan.send_redirects", "0")
    for one in ("one", "two"):
        assert "route" in hosts[one].netapply("-", stdin=shop(hosts, underlay)).stdout
    apply(hosts, shop(hosts, underlay))
    assert in_vxlan(host, hosts, "web", "db", underlay) == {"web", "db"}


@pytest.mark.parametrize("mode", ["1", "0"], ids=["turned off", "deleted"])
def test_over_ipv6_a_host_whose_link_has_no_link_local_address_sends_in_vxlan_and_says_what_mends_it(
    host: Machine, hosts: dict[str, Host], mode: str
) -> None:
    one, text = hosts["one"], shop(hosts, 6)
    host.sysctl("net.ipv6.conf.eth0.addr_gen_mode", mode, netns=one.netns)
    one.run("ip -6 addr flush dev eth0 scope link")
    said = one.netapply("-", stdin=text).stdout
    assert "note: direct_routing of front does nothing for two: eth0 has no link-local address" in said
    (mend,) = re.findall(r"`sysctl -w (.*)` gives it one", said)
    apply(hosts, text)
    assert in_vxlan(host, hosts, "web", "db", 6) == {"web"}, "what comes back comes as it is"
    assert in_vxlan(host, hosts, "db", "web", 6) == {"web"}
    host.sysctl("net.ipv6.conf.eth0.accept_dad", "0", netns=one.netns)  # which takes a second or two
    for setting in mend.split():
        name, _, value = setting.partition("=")
        host.sysctl(name.replace("/", "."), value, netns=one.netns)
    assert "link-local" not in one.netapply("-", stdin=text).stdout
    apply(hosts, text)
    assert in_vxlan(host, hosts, "web", "db", 6) == set()
