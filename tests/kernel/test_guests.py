"""What others have put into netapply's namespaces, and on its links: it does not go with these."""

from __future__ import annotations

import pytest

from tests.machine import Machine

pytestmark = pytest.mark.root

TWO = """
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  web: {networks: [front]}
  db: {networks: [front]}
"""
ONE = TWO.replace("  web: {networks: [front]}\n", "")
OFF = TWO.replace("web: {networks: [front]}", "web: {}")


def test_a_namespace_stays_while_a_link_of_others_is_in_it(host: Machine) -> None:
    host.netapply("-", stdin=TWO)
    host.run("ip link add tunnel type veth peer name far netns web")
    host.run("ip addr add 192.0.2.1/24 dev tunnel")
    host.run("ip link set tunnel up")
    host.run("ip addr add 192.0.2.2/24 dev far", netns="web")
    host.run("ip link set far up", netns="web")
    done = host.netapply("-", stdin=ONE).stdout
    assert "note: namespace netns:web stays while veth far of others is in it; a later run removes it" in done
    assert "- endpoint web" in done
    assert host.run("ping -q -c1 -W5 192.0.2.2").returncode == 0
    assert host.names() == ["db", "web"]
    assert "nothing to do" in host.netapply("-", stdin=ONE).stdout
    host.run("ip link delete tunnel")
    host.netapply("-", stdin=ONE)
    assert host.names() == ["db"]


@pytest.mark.parametrize("theirs", ["type macvlan", "type vxlan id 7 dev eth0 dstport 4789 remote 10.20.0.1"])
@pytest.mark.parametrize("text", [ONE, OFF], ids=["the-container-leaves", "the-endpoint-leaves"])
def test_what_stands_on_an_endpoint_is_named_and_nothing_is_touched(host: Machine, theirs: str, text: str) -> None:
    host.netapply("-", stdin=TWO)
    host.run(
        f"ip link add theirs link eth0 {theirs}" if "macvlan" in theirs else f"ip link add theirs {theirs}", netns="web"
    )
    before, inside = host.snapshot(), host.snapshot("web")
    kind = theirs.split()[1]
    for command in (["-"], ["plan", "-"]):
        said = host.netapply(*command, stdin=text, code=3)
        named = f"{kind} theirs of others is on eth0 in web, and would go with it; remove that first"
        assert named in said.stdout + said.stderr
    assert (host.snapshot(), host.snapshot("web")) == (before, inside)
    host.run("ip link delete theirs", netns="web")
    host.netapply("-", stdin=text)


@pytest.mark.parametrize(
    ("give", "take", "named"),
    [
        ("ip addr add 192.0.2.1/24 dev shop-front", "ip addr del 192.0.2.1/24 dev shop-front", "address 192.0.2.1/24"),
        (
            "ip -6 addr add fd00:99::1/64 dev shop-front nodad",
            "ip -6 addr del fd00:99::1/64 dev shop-front",
            "address fd00:99::1/64",
        ),
        (
            "ip route add 198.51.100.0/24 via 10.20.0.9",
            "ip route del 198.51.100.0/24",
            "route 198.51.100.0/24",
        ),
        (
            "ip -6 route add fd00:98::/64 via fd00:20::9",
            "ip -6 route del fd00:98::/64",
            "route fd00:98::/64",
        ),
    ],
)
def test_what_others_gave_to_a_bridge_is_named_before_the_bridge_goes(
    host: Machine, give: str, take: str, named: str
) -> None:
    host.netapply("-", stdin=TWO)
    host.run(give)
    before = host.snapshot()
    assert "nothing to do" in host.netapply("-", stdin=TWO).stdout
    said = host.netapply("destroy", "--project", "shop", code=3).stderr
    assert f"{named} of others is on shop-front, and would go with it; remove that first" in said
    assert host.snapshot() == before
    host.run(take)
    host.netapply("destroy", "--project", "shop")
    assert host.names() == []


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (("10.20.0.0/24", "10.21.0.0/24"), "would go with its last IPv4 address"),
        (("front: {ipam", "front: {driver_opts: {name: br7}, ipam"), "would go when it is taken down"),
    ],
)
def test_a_route_that_an_edit_would_take_along_is_named(host: Machine, edit: tuple[str, str], why: str) -> None:
    host.netapply("-", stdin=TWO)
    host.run("ip route add 198.51.100.0/24 via 10.20.0.9")
    before = host.snapshot()
    said = host.netapply("-", stdin=TWO.replace(*edit), code=3).stderr
    assert f"route 198.51.100.0/24 of others is on shop-front, and {why}; remove that first" in said
    assert host.snapshot() == before
    host.run("ip route del 198.51.100.0/24")
    host.netapply("-", stdin=TWO.replace(*edit))
    assert "nothing to do" in host.netapply("-", stdin=TWO.replace(*edit)).stdout


def test_what_a_namespace_of_somebody_else_has_in_it_is_not_asked_about(host: Machine) -> None:
    host.netns("theirs")
    host.run("ip link add tunnel type veth peer name far netns theirs")
    text = TWO.replace("web: {networks: [front]}", "web: {sandbox: {netns: theirs, create: false}, networks: [front]}")
    host.netapply("-", stdin=text)
    done = host.netapply("destroy", "--project", "shop").stdout
    assert "note" not in done
    assert "far" in host.run("ip link", netns="theirs").stdout
