"""A physical port in a network's bridge: traffic, drift, and a link of somebody else's that is left as it was found."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from tests.machine import Machine

from .test_manifests import reach, unreached, without_what_stays
from .test_rollback import OPTIONS, Counting, applied, raising

LAN = """
project: lab
networks:
  lan:
    driver_opts: {name: lan0, uplink: card}
    ipam: {config: [{subnet: 10.20.0.0/24, ip_range: 10.20.0.128/25}, {subnet: "fd00:20::/64"}]}
containers:
  one: {networks: {lan: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
  two: {networks: {lan: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}}}
"""
WITHOUT = LAN.replace(", uplink: card", "")
FAR = {4: "10.20.0.77", 6: "fd00:20::77"}
TWO = {4: "10.20.0.12", 6: "fd00:20::12"}

families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture
def card(host: Machine) -> Machine:
    """A link `card` that leads to a namespace `far`, in the same subnets; it is down, as a card is that nobody uses."""
    host.netns("far")
    host.run("ip link add card type veth peer name eth0 netns far")
    host.run("ip link set eth0 up", netns="far")
    for address in FAR.values():
        host.run(f"ip addr add {address}/{24 if '.' in address else 64} dev eth0 nodad", netns="far")
    return host


def look(host: Machine, link: str = "card") -> tuple[str | None, bool]:
    """Return which bridge a link is in, and whether it is up."""
    (found,) = host.json(f"ip -j link show {link}")
    return found.get("master"), "UP" in found["flags"]


@families
def test_containers_and_what_is_behind_the_uplink_are_on_one_segment(
    card: Machine, bridge_nf: bool, family: int
) -> None:
    card.netapply("-", stdin=LAN)
    reach(card, ("one", FAR[family]), ("far", TWO[family]), ("one", TWO[family]), ("", FAR[family]))
    assert card.tcp("far", "two", TWO[family]) == FAR[family]
    assert card.udp("one", "far", FAR[family]) == ("10.20.0.11" if family == 4 else "fd00:20::11")


@families
def test_without_icc_containers_reach_the_uplink_and_not_each_other(
    card: Machine, bridge_nf: bool, family: int
) -> None:
    card.netapply("-", stdin=LAN.replace("uplink: card", "uplink: card, icc: false"))
    reach(card, ("one", FAR[family]), ("far", TWO[family]), ("two", "10.20.0.1" if family == 4 else "fd00:20::1"))
    unreached(card, ("one", TWO[family]))
    for netns, other in (("one", 12), ("two", 11)):  # the way round by the host
        there, gateway = (f"10.20.0.{other}", "10.20.0.1") if family == 4 else (f"fd00:20::{other}", "fd00:20::1")
        card.run(f"ip route add {there} via {gateway}", netns=netns)
    unreached(card, ("one", TWO[family]), ("two", "10.20.0.11" if family == 4 else "fd00:20::11"))


@pytest.mark.parametrize("up", [False, True], ids=["found down", "found up"])
def test_the_uplink_is_left_as_it_was_found_with_the_option_and_with_the_network(card: Machine, up: bool) -> None:
    card.run("ip link set card up")  # it gets a queue the first time, and keeps it
    card.run(f"ip link set card {'up' if up else 'down'}")
    settings = card.run("ip -d link show card").stdout.replace("LOWER_UP", "")
    before = without_what_stays(card.snapshot())
    for end in ("-", "destroy -"):
        card.netapply("-", stdin=LAN)
        assert look(card) == ("lan0", True)
        assert "nothing to do" in card.netapply("-", stdin=LAN).stdout
        said = card.netapply(*end.split(), stdin=WITHOUT if end == "-" else LAN).stdout
        assert "- uplink card" in said
        assert look(card) == (None, up)
    assert without_what_stays(card.snapshot()) == before
    assert card.run("ip -d link show card").stdout.replace("LOWER_UP", "") == settings


def test_what_is_known_of_the_uplink_is_known_without_any_file(card: Machine) -> None:
    card.netapply("-", stdin=LAN)
    card.run("rm -rf /run/netapply")
    assert "nothing to do" in card.netapply("-", stdin=LAN).stdout
    card.netapply("destroy", "--project", "lab")
    assert look(card) == (None, False)


def test_an_uplink_that_somebody_takes_out_or_sets_down_is_put_back(card: Machine) -> None:
    card.netapply("-", stdin=LAN)
    card.run("ip link set card nomaster")
    assert "+ uplink card" in card.netapply("-", stdin=LAN).stdout
    card.run("ip link set card down")
    assert "link down → up" in card.netapply("-", stdin=LAN).stdout
    assert look(card) == ("lan0", True)
    card.run("ip link set card nomaster")
    card.run("ip link add elsewhere type bridge")
    card.run("ip link set card master elsewhere")
    assert "is in elsewhere already" in card.netapply("-", stdin=LAN, code=3).stderr
    card.netapply("-", stdin=WITHOUT)
    assert look(card) == ("elsewhere", True), "what somebody else has by now is theirs"


def test_the_uplink_moves_to_another_network_and_another_one_takes_its_place(card: Machine) -> None:
    card.netns("third")
    card.run("ip link add spare type veth peer name eth0 netns third")
    moved = LAN.replace("uplink: card", "uplink: spare").replace(
        "containers:",
        "  other: {driver_opts: {name: other0, uplink: card}, ipam: {config: [{subnet: 10.21.0.0/24}]}}\ncontainers:",
    )
    for text, masters in ((LAN, ("lan0", None)), (moved, ("other0", "lan0")), (LAN, ("lan0", None))):
        card.netapply("-", stdin=text)
        assert (look(card)[0], look(card, "spare")[0]) == masters
        assert "nothing to do" in card.netapply("-", stdin=text).stdout
    card.netapply("destroy", "-", stdin=LAN)
    assert (look(card), look(card, "spare")) == ((None, False), (None, False))


def test_a_foreign_port_of_our_bridge_stays_and_is_not_taken_for_the_uplink(card: Machine) -> None:
    card.netapply("-", stdin=WITHOUT)
    card.run("ip link set card master lan0")
    assert "nothing to do" in card.netapply("-", stdin=WITHOUT).stdout
    assert look(card) == ("lan0", False)
    refused = card.netapply("-", stdin=LAN, code=3)
    assert "card of network lan is in lan0 already, where netapply did not put it" in refused.stderr


REFUSED = {
    "an address": ("ip addr add 192.0.2.7/24 dev card", "carries 192.0.2.7/24", 3),
    "an IPv6 address": ("ip addr add 2001:db8::7/64 dev card", "carries 2001:db8::7/64", 3),
    "a route": ("ip route add 198.51.100.0/24 dev card", "carries the route to 198.51.100.0/24", 3),
    "a bridge's": ("ip link set card master theirs", "is in theirs already", 3),
    "none": ("ip link del card", "the host has no link card", 69),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_link_that_the_host_needs_is_refused_and_nothing_is_touched(card: Machine, case: str) -> None:
    command, reason, code = REFUSED[case]
    card.run("ip link add theirs type bridge")
    card.run("ip link set card up")
    card.run(command)
    before = card.snapshot()
    said = card.netapply("-", stdin=LAN, code=code).stderr
    assert reason in said
    assert card.snapshot() == before
    assert (
        reason
        in card.netapply("plan", "-", stdin=LAN, code=None).stderr
        + card.netapply("plan", "-", stdin=LAN, code=None).stdout
    )


def test_the_default_route_is_never_put_into_a_bridge(host: Machine) -> None:
    outside = host.outside(link="card")
    said = host.netapply("-", stdin=LAN, code=3).stderr
    assert "the route to 0.0.0.0/0" in said
    assert "use the driver macvlan" in said
    reach(host, ("", outside.ipv4), ("", outside.ipv6))


def test_a_bridge_as_uplink_and_a_link_with_a_macvlan_on_it_are_said(card: Machine) -> None:
    card.run("ip link add theirs type bridge")
    assert "theirs is a bridge" in card.netapply("-", stdin=LAN.replace("card", "theirs"), code=69).stderr
    card.run("ip link add mac0 link card type macvlan")
    before = card.snapshot()
    assert "a macvlan, an ipvlan or the like stands on it" in card.netapply("-", stdin=LAN, code=1).stderr
    assert without_what_stays(card.snapshot()).replace(" 1 ", " 0 ") == before.replace(" 1 ", " 0 ")


def test_the_network_has_the_mtu_of_its_uplink_and_no_larger_one(card: Machine) -> None:
    card.run("ip link set card mtu 1400")
    card.netapply("-", stdin=LAN)
    (bridge,) = card.json("ip -j link show lan0")
    assert bridge["mtu"] == 1400
    larger = LAN.replace("  lan:\n", "  lan:\n    mtu: 1500\n")
    refused = card.netapply("-", stdin=larger, code=65).stderr
    assert "network lan can't have an MTU of 1500: its uplink card has 1400" in refused


def test_on_the_lan_of_the_host_the_subnet_is_no_clash_where_the_gateway_is_somebody_elses(card: Machine) -> None:
    card.netns("router")
    card.run("ip link add eth9 type veth peer name eth0 netns router")
    card.run("ip link set eth9 up")
    card.run("ip addr add 10.20.0.9/24 dev eth9")
    assert "10.20.0.0/24" in card.netapply("-", stdin=LAN, code=65).stderr
    bridged = LAN.replace("uplink: card", "uplink: card, gateway_mode: isolated, inhibit_gateway: true")
    bridged = bridged.replace("10.20.0.0/24,", "10.20.0.0/24, gateway: 10.20.0.77,").replace(
        '"fd00:20::/64"', '"fd00:20::/64", gateway: "fd00:20::77"'
    )
    card.netapply("-", stdin=bridged)
    assert card.addresses("") == ["10.20.0.9"]
    assert card.json("ip -j route show default", netns="one")[0]["gateway"] == "10.20.0.77"
    assert card.sysctl("net.ipv4.ip_forward") == "0"
    reach(card, ("one", FAR[4]), ("one", FAR[6]))


@pytest.fixture
def manifests(card: Machine) -> tuple[Any, Any]:
    """The network without and with the uplink, the first one applied."""
    return applied(WITHOUT, LAN)


def operations(before: Any, after: Any) -> int:
    trap = Counting(None, lambda: None)
    engine.converge(after, LinuxHost(trap=trap), OPTIONS)
    engine.converge(before, LinuxHost(), OPTIONS)
    return trap.seen


@pytest.mark.parametrize("there", [True, False], ids=["coming", "going"])
def test_a_failure_at_any_operation_leaves_the_uplink_as_it_was(
    card: Machine, manifests: tuple[Any, Any], there: bool
) -> None:
    before, after = manifests if there else reversed(manifests)
    engine.converge(before, LinuxHost(), OPTIONS)
    total, state = operations(before, after), look(card)
    assert total >= 4
    for at in range(total):
        with pytest.raises(ApplyFailed):
            engine.converge(after, LinuxHost(trap=Counting(at, raising(16))), OPTIONS)
        assert look(card) == state
        assert not engine.plan(before, LinuxHost(), OPTIONS).plan


@pytest.mark.parametrize("there", [True, False], ids=["coming", "going"])
def test_killed_at_any_operation_the_uplink_is_known_and_let_go(
    card: Machine, manifests: tuple[Any, Any], there: bool
) -> None:
    before, after = manifests if there else reversed(manifests)
    engine.converge(before, LinuxHost(), OPTIONS)
    for at in range(operations(before, after)):
        child = os.fork()
        if not child:
            engine.converge(after, LinuxHost(trap=Counting(at, lambda: os.kill(os.getpid(), signal.SIGKILL))), OPTIONS)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        for manifest, expected in ((manifests[1], ("lan0", True)), (manifests[0], (None, False)), (before, None)):
            engine.converge(manifest, LinuxHost(), OPTIONS)
            assert expected is None or look(card) == expected
