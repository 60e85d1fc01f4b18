"""Networks that span hosts: three of them on one bridge, with real packets between their containers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster import WORLD_IPV4, WORLD_IPV6, Host, add_host, apply, captured, cluster
from tests.flow import Flow
from tests.machine import Machine

SHOP = """
version: 1
project: shop
hosts: {hosts}
networks:
  front:
    driver: overlay
    driver_opts: {{{options}}}
    ipam: {{config: [{{subnet: {subnet4}}}, {{subnet: "{subnet6}"}}]}}
    {network}
containers:
{containers}
"""

WHERE = {"web": "one", "api": "one", "db": "two", "cache": "three"}

families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
underlays = pytest.mark.parametrize("underlay", [4, 6], ids=["over-ipv4", "over-ipv6"])
modes = pytest.mark.parametrize("mode", ["l2", "l3"])


def shop(
    hosts: dict[str, Host], *, where: dict[str, str] = WHERE, underlay: int = 4, network: str = "", **options: Any
) -> str:
    """Return the manifest: four containers on three hosts, on one network with these driver_opts."""
    addresses = ", ".join(f'{name}: {{address: "{host.address_of(underlay)}"}}' for name, host in hosts.items())
    words = ", ".join(f"{name}: {str(value).lower()}" for name, value in options.items())
    containers = [f"  {name}: {{host: {host}, networks: [front]}}" for name, host in where.items()]
    return SHOP.format(
        hosts=f"{{{addresses}}}",
        options=words,
        subnet4="10.50.0.0/20",
        subnet6="fd00:50::/64",
        network=network,
        containers="\n".join(containers),
    )


@pytest.fixture
def hosts(host: Machine) -> dict[str, Host]:
    return cluster(host)


def at(hosts: dict[str, Host], name: str) -> str:
    """Return the namespace of a container of the shop."""
    return hosts[WHERE[name]].container(name)


def address(hosts: dict[str, Host], name: str, family: int) -> str:
    return hosts[WHERE[name]].address(name, family)


def unanswered(host: Machine, hosts: dict[str, Host], family: int, **how: Any) -> list[tuple[str, str]]:
    """Have everybody ping everybody; return who got no answer from whom."""
    names = [(one, other) for one in WHERE for other in WHERE if one != other]
    answers = host.pings([(at(hosts, one), address(hosts, other, family)) for one, other in names], **how)
    return [pair for pair, answer in zip(names, answers, strict=True) if not answer]


@modes
@underlays
def test_containers_on_different_hosts_reach_each_other(
    host: Machine, hosts: dict[str, Host], underlay: int, mode: str
) -> None:
    apply(hosts, shop(hosts, underlay=underlay, mode=mode))
    for family in (4, 6):
        assert unanswered(host, hosts, family) == []
        db = address(hosts, "db", family)
        assert host.tcp(at(hosts, "web"), at(hosts, "db"), db) == address(hosts, "web", family)
        assert host.udp(at(hosts, "cache"), at(hosts, "db"), db) == address(hosts, "cache", family)


@modes
def test_bridged_packets_that_pass_the_firewall_are_no_obstacle(
    host: Machine, hosts: dict[str, Host], mode: str
) -> None:
    for one in hosts.values():
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
            host.sysctl(f"net.bridge.{name}", "1", netns=one.netns)
    apply(hosts, shop(hosts, mode=mode))
    assert [unanswered(host, hosts, family) for family in (4, 6)] == [[], []]


@underlays
@modes
def test_a_packet_of_exactly_the_mtu_passes_between_hosts_and_a_larger_one_does_not(
    host: Machine, hosts: dict[str, Host], underlay: int, mode: str
) -> None:
    apply(hosts, shop(hosts, underlay=underlay, mode=mode))
    mtu = 1500 - (50 if underlay == 4 else 70)
    for family in (4, 6):
        target = address(hosts, "db", family)
        assert host.ping(at(hosts, "web"), target, size=mtu, fragment=False)
        assert not host.ping(at(hosts, "web"), target, size=mtu + 1, fragment=False, within=0.3)


@underlays
def test_nobody_asks_other_hosts_who_has_an_address(host: Machine, hosts: dict[str, Host], underlay: int) -> None:
    with captured() as frames:
        apply(hosts, shop(hosts, underlay=underlay))
        for family in (4, 6):
            assert unanswered(host, hosts, family) == []
            nobody = "10.50.0.99" if family == 4 else "fd00:50::99"
            assert not host.ping(at(hosts, "web"), nobody, within=0.3)
        host.run("ping -c 1 -w 1 -b 10.50.15.255", netns=at(hosts, "web"), check=False)
    assert len(frames) > 20
    assert [frame for frame in frames if frame.is_for_all or frame.asks_for_neighbours] == []


@families
def test_a_flow_keeps_going_for_longer_than_an_entry_would_live(
    host: Machine, hosts: dict[str, Host], family: int
) -> None:
    """The kernel forgets whom it has not heard of: what is said to it stays."""
    apply(hosts, shop(hosts))
    for name in ("web", "db"):
        host.run("ip neigh flush all", netns=at(hosts, name))
    bridge = hosts["one"].run("ip -br link show type bridge").stdout.split()[0]
    hosts["one"].run(f"ip link set {bridge} type bridge ageing_time 1 fdb_flush")
    assert host.ping(at(hosts, "web"), address(hosts, "db", family))
    assert "nothing to do" in hosts["one"].netapply("-", stdin=shop(hosts)).stdout


def test_broadcasts_go_to_all_hosts_on_request_and_multicasts_too(host: Machine, hosts: dict[str, Host]) -> None:
    apply(hosts, shop(hosts, flood=True))
    for name in WHERE:
        host.sysctl("net.ipv4.icmp_echo_ignore_broadcasts", "0", netns=at(hosts, name))
    with captured() as frames:
        said = host.run("ping -c 2 -w 2 -b 10.50.15.255", netns=at(hosts, "web"), check=False).stdout
        assert address(hosts, "db", 4) in said or "DUP" in said
        host.run("ping -c 1 -w 1 -I eth0 ff02::1", netns=at(hosts, "web"), check=False)
    assert {frame.destination for frame in frames if frame.is_for_all} >= {"ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"}
    assert unanswered(host, hosts, 4) == []
    apply(hosts, shop(hosts))
    with captured() as frames:
        host.run("ping -c 1 -w 1 -b 10.50.15.255", netns=at(hosts, "web"), check=False)
    assert [frame for frame in frames if frame.is_for_all] == []


@modes
@families
def test_every_host_is_the_way_out_for_its_containers(
    host: Machine, hosts: dict[str, Host], family: int, mode: str
) -> None:
    apply(hosts, shop(hosts, mode=mode))
    world = WORLD_IPV4 if family == 4 else WORLD_IPV6
    for name, where in WHERE.items():
        assert host.tcp(at(hosts, name), "", world) == hosts[where].address_of(family)
    gateways = {host.json("ip -j route show default", netns=at(hosts, name))[0]["gateway"] for name in WHERE}
    assert len(gateways) == (1 if mode == "l2" else 3)


@families
def test_all_hosts_have_the_same_gateway_with_the_same_mac_and_none_of_its_answers_goes_across(
    host: Machine, hosts: dict[str, Host], family: int
) -> None:
    apply(hosts, shop(hosts, flood=True))
    gateway = "10.50.0.1" if family == 4 else "fd00:50::1"
    with captured() as frames:
        assert all(host.pings([(at(hosts, name), gateway) for name in WHERE]))
    macs = {
        one["lladdr"]
        for name in WHERE
        for one in host.json("ip -j neigh show dev eth0", netns=at(hosts, name))
        if one["dst"] == gateway
    }
    assert len(macs) == 1
    across = [frame for frame in frames if macs & {frame.source, frame.destination}]
    # a bridge tells the groups it is in (MLD) for some seconds after it has come up: a multicast like everybody's
    assert [frame for frame in across if not frame.is_for_all] == []


@modes
def test_an_internal_network_leads_nowhere_but_to_its_own_containers(
    host: Machine, hosts: dict[str, Host], mode: str
) -> None:
    apply(hosts, shop(hosts, mode=mode, network="internal: true"))
    for family, world in ((4, WORLD_IPV4), (6, WORLD_IPV6)):
        assert unanswered(host, hosts, family) == []
        assert host.tcp(at(hosts, "web"), "", world, within=0.3) is None


@modes
def test_containers_are_closed_to_the_outside(host: Machine, hosts: dict[str, Host], mode: str) -> None:
    apply(hosts, shop(hosts, mode=mode))
    host.run("ip route add 10.50.0.0/20 via 192.0.2.1")
    for name in ("web", "db"):  # on the host that the way leads to, and beyond it
        assert host.tcp("", at(hosts, name), address(hosts, name, 4), within=0.3) is None


@modes
def test_containers_that_may_not_talk_to_each_other_do_not_across_hosts_either(
    host: Machine, hosts: dict[str, Host], mode: str
) -> None:
    apply(hosts, shop(hosts, mode=mode, icc=False))
    for family, world in ((4, WORLD_IPV4), (6, WORLD_IPV6)):
        assert len(unanswered(host, hosts, family, within=0.5)) == len(WHERE) * (len(WHERE) - 1)
        assert host.tcp(at(hosts, "web"), "", world) == hosts["one"].address_of(family)


@modes
@families
def test_a_host_that_leaves_the_manifest_is_forgotten_while_the_others_go_on(
    host: Machine, hosts: dict[str, Host], family: int, mode: str
) -> None:
    apply(hosts, shop(hosts, mode=mode))
    assert host.ping(at(hosts, "web"), address(hosts, "cache", family))
    gone = address(hosts, "cache", family)
    rest = {name: one for name, one in hosts.items() if name != "three"}
    with host.flow(at(hosts, "web"), address(hosts, "db", family)) as flow:
        text = shop(rest, where={name: where for name, where in WHERE.items() if where != "three"}, mode=mode)
        apply(rest, text)
    assert flow.lost == 0
    hosts["three"].netapply("destroy", "--project", "shop")
    assert not host.ping(at(hosts, "web"), gone, within=0.3)
    assert "cache" not in hosts["three"].containers()
    fdb = hosts["one"].run("bridge fdb show").stdout + hosts["one"].run("ip route").stdout
    assert hosts["three"].ipv4 not in fdb


@modes
@underlays
def test_a_host_that_changes_its_address_is_found_again(
    host: Machine, hosts: dict[str, Host], underlay: int, mode: str
) -> None:
    before = shop(hosts, mode=mode, underlay=underlay)
    apply(hosts, before)
    old, new = hosts["two"].address_of(underlay), "192.0.2.22" if underlay == 4 else "2001:db8:2::22"
    text = before.replace(f'"{old}"', f'"{new}"')
    hosts["two"].run(f"ip addr add {new}/24 dev eth0" if underlay == 4 else f"ip addr add {new}/64 dev eth0 nodad")
    with elsewhere(host, at(hosts, "web"), address(hosts, "cache", 4)):
        apply(hosts, text)
    assert [unanswered(host, hosts, family) for family in (4, 6)] == [[], []]


@contextmanager
def elsewhere(host: Machine, netns: str, target: str) -> Iterator[Flow]:
    """Run a flow meanwhile that must not lose a packet."""
    with host.flow(netns, target) as flow:
        yield flow
    assert flow.lost == 0


@modes
def test_a_new_host_and_its_containers_are_reached_once_all_know_of_them(
    host: Machine, hosts: dict[str, Host], mode: str
) -> None:
    apply(hosts, shop(hosts, mode=mode))
    more = {**hosts, "four": add_host(host, "four", 4)}
    with elsewhere(host, at(hosts, "web"), address(hosts, "db", 4)):
        apply(more, shop(more, where={**WHERE, "late": "four"}, mode=mode))
    for family in (4, 6):
        late = more["four"].address("late", family)
        assert all(host.pings([(at(hosts, name), late) for name in WHERE]))


def test_a_container_moves_to_another_host_and_keeps_its_address(host: Machine, hosts: dict[str, Host]) -> None:
    apply(hosts, shop(hosts))
    was = address(hosts, "db", 4)
    apply(hosts, shop(hosts, where={**WHERE, "db": "three"}))
    assert hosts["three"].address("db", 4) == was
    assert "db" not in hosts["two"].containers()
    assert host.ping(at(hosts, "web"), was)


@modes
def test_what_somebody_changes_is_mended(host: Machine, hosts: dict[str, Host], mode: str) -> None:
    text = shop(hosts, mode=mode)
    apply(hosts, text)
    one = hosts["one"]
    vxlan = one.run("ip -br link show type vxlan").stdout.split()[0]
    bridge = one.run("ip -br link show type bridge").stdout.split()[0]
    (about,) = host.json(f"ip -j -d link show {vxlan}", netns=one.netns)
    vni = about["linkinfo"]["info_data"]["id"]
    entries = [line for line in one.run(f"bridge fdb show dev {vxlan}").stdout.splitlines() if " dst " in line]
    mac, holder = entries[0].split()[0], bridge if mode == "l2" else vxlan
    neighbours = one.run(f"ip neigh show dev {holder} nud permanent").stdout.splitlines()
    harm = [
        f"bridge fdb del {mac} dev {vxlan} self",
        f"ip neigh del {neighbours[0].split()[0]} dev {holder}",
        f"ip neigh replace {neighbours[1].split()[0]} lladdr 02:00:00:00:00:99 dev {holder} nud permanent",
        f"ip link set {vxlan} type vxlan id {vni} local 192.0.2.77",
        f"ip link set {vxlan} down",
        f"ip link del {vxlan}",
    ]
    if mode == "l2":
        harm += [
            f"bridge fdb replace {mac} dev {vxlan} dst 192.0.2.99 self static",
            f"bridge fdb del {mac} dev {vxlan} master",
            f"bridge link set dev {vxlan} neigh_suppress off learning on flood on",
            f"ip link set {vxlan} nomaster",
            f"ip link set {bridge} address 02:00:00:00:00:77",
        ]
    for command in harm:
        one.run(command)
        assert "nothing to do" not in one.netapply("-", stdin=text).stdout, command
        assert "nothing to do" in one.netapply("-", stdin=text).stdout, command
    assert [unanswered(host, hosts, family) for family in (4, 6)] == [[], []]


def test_links_and_entries_of_others_are_left_alone(host: Machine, hosts: dict[str, Host]) -> None:
    one, text = hosts["one"], shop(hosts, vni=5000)
    one.run("ip link add theirs type vxlan id 4999 local 192.0.2.1 dstport 4789 nolearning")
    one.run("bridge fdb add 02:00:00:00:00:01 dev theirs dst 192.0.2.9 self permanent")
    apply(hosts, text)
    vxlan = (
        one.run("ip -br link show type vxlan").stdout.split("theirs")[0].split()
        or one.run("ip -br link show type vxlan").stdout.splitlines()[-1].split()
    )
    one.run(f"bridge fdb add 02:00:00:00:00:02 dev {vxlan[0]} dst 192.0.2.9 self permanent")
    bridge = one.run("ip -br link show type bridge").stdout.split()[0]
    one.run(f"ip neigh add 10.50.0.200 lladdr 02:00:00:00:00:02 dev {bridge} nud permanent")

    def foreign() -> list[str]:
        lines = one.run("bridge fdb show").stdout + one.run("ip neigh show nud permanent").stdout
        return sorted(line for line in lines.splitlines() if "02:00:00:00:00:0" in line)

    before = foreign()
    assert len(before) == 3
    assert "nothing to do" in one.netapply("-", stdin=text).stdout
    one.netapply("-", stdin=shop(hosts, vni=5000, where={**WHERE, "cache": "two"}))
    assert foreign() == before
    one.netapply("destroy", "--project", "shop")
    assert [line for line in before if "theirs" in line] == foreign()


def test_a_link_of_others_with_the_same_vni_is_named_before_anything_is_touched(
    host: Machine, hosts: dict[str, Host]
) -> None:
    one = hosts["one"]
    one.run("ip link add theirs type vxlan id 5000 local 192.0.2.1 dstport 4789")
    before = host.snapshot(one.netns)
    refused = one.netapply("-", stdin=shop(hosts, vni=5000), code=3)
    assert "VNI 5000 port 4789 IPv4 is taken: the link theirs has it, which netapply did not make" in refused.stderr
    assert host.snapshot(one.netns) == before
    one.run("ip netns add elsewhere")
    one.run("ip link set theirs netns elsewhere")  # as Docker does with its own
    assert "VNI 5000 port 4789" in one.netapply("-", stdin=shop(hosts, vni=5000), code=3).stderr
    one.netapply("-", stdin=shop(hosts, vni=5000, port=4790))


def test_an_entry_of_others_in_the_way_is_named(host: Machine, hosts: dict[str, Host]) -> None:
    apply(hosts, shop(hosts))
    one = hosts["one"]
    bridge = one.run("ip -br link show type bridge").stdout.split()[0]
    db = address(hosts, "db", 4)
    one.netapply("-", stdin=shop(hosts, where={name: where for name, where in WHERE.items() if name != "db"}))
    one.run(f"ip neigh add {db} lladdr 02:00:00:00:00:02 dev {bridge} nud permanent")
    refused = one.netapply("-", stdin=shop(hosts), code=3)
    assert f"neighbour front {db} is taken: somebody else made that neighbour" in refused.stderr


def test_a_host_knows_itself_by_its_addresses_or_is_told(host: Machine, hosts: dict[str, Host]) -> None:
    text = shop(hosts)
    none = hosts["one"].netapply("plan", "-", stdin=text.replace('"192.0.2.1"', '"192.0.2.101"'), code=69)
    assert "this is none of the manifest's hosts by its addresses (one 192.0.2.101" in none.stderr
    hosts["one"].run("ip addr add 192.0.2.102/24 dev eth0")
    several = hosts["one"].netapply("plan", "-", stdin=text.replace('"192.0.2.2"', '"192.0.2.102"'), code=69)
    assert "this host has the addresses of several hosts of the manifest: one, two" in several.stderr
    told = hosts["one"].netapply("plan", "--host", "one", "-", stdin=text.replace('"192.0.2.2"', '"192.0.2.102"'))
    assert "endpoint web" in told.stdout
    host.environ["NETAPPLY_HOST"] = "two"
    assert "no link of this host has it" in hosts["one"].netapply("plan", "-", stdin=text, code=69).stderr


@modes
def test_a_destroyed_network_leaves_nothing(host: Machine, hosts: dict[str, Host], mode: str) -> None:
    before = {name: host.snapshot(one.netns) for name, one in hosts.items()}
    text = shop(hosts, mode=mode, network="internal: true")
    apply(hosts, text)
    for one in hosts.values():
        one.netapply("destroy", "-", stdin=text)
    after = {name: host.snapshot(one.netns) for name, one in hosts.items()}
    assert {name: text.partition("table inet netapply {")[0].strip() for name, text in after.items()} == before


def test_packets_to_hosts_on_the_same_link_go_as_they_are_on_request(host: Machine, hosts: dict[str, Host]) -> None:
    apply(hosts, shop(hosts, mode="l3", direct_routing=True))
    with captured() as frames:
        assert unanswered(host, hosts, 4) == []
        db = address(hosts, "db", 4)
        assert host.tcp(at(hosts, "web"), at(hosts, "db"), db) == address(hosts, "web", 4)
    assert frames == []
    with captured() as frames:  # hosts that know each other by IPv4 have no IPv6 way
        assert unanswered(host, hosts, 6) == []
    assert frames != []
    assert host.tcp(at(hosts, "db"), "", WORLD_IPV4) == hosts["two"].ipv4
    host.run("ip route add 10.50.0.0/20 via 192.0.2.1")
    assert host.tcp("", at(hosts, "web"), address(hosts, "web", 4), within=0.3) is None
    hosts["one"].run(
        ["sh", "-c", "ip route show proto 110 | grep 'via 192.0.2.2 ' | xargs -I{} sh -c 'ip route del {}'"]
    )
    said = hosts["one"].netapply("-", stdin=shop(hosts, mode="l3", direct_routing=True)).stdout
    assert "+ route 10.50." in said
    apply(hosts, shop(hosts, mode="l3"))
    with captured() as frames:
        assert unanswered(host, hosts, 4) == []
    assert frames != []


def test_packets_go_as_they_are_within_an_internal_network_too_and_not_where_containers_may_not_talk(
    host: Machine, hosts: dict[str, Host]
) -> None:
    apply(hosts, shop(hosts, mode="l3", direct_routing=True, network="internal: true"))
    assert unanswered(host, hosts, 4) == []
    assert host.tcp(at(hosts, "web"), "", WORLD_IPV4, within=0.3) is None
    apply(hosts, shop(hosts, mode="l3", direct_routing=True, icc=False))
    assert len(unanswered(host, hosts, 4, within=0.5)) == len(WHERE) * (len(WHERE) - 1)


def test_what_one_network_may_open_to_another_it_may_across_hosts_where_they_route(
    host: Machine, hosts: dict[str, Host]
) -> None:
    text = shop(hosts, mode="l3", network="allow: [back]")
    back = "  back: {driver: overlay, driver_opts: {mode: l3}, ipam: {config: [{subnet: 10.60.0.0/20}]}}\n"
    text = text.replace("containers:", f"{back}containers:\n  store: {{host: two, networks: [back]}}")
    apply(hosts, text)
    store, there = hosts["two"].address("store", start="10.60."), hosts["two"].container("store")
    assert host.tcp(at(hosts, "web"), there, store) == address(hosts, "web", 4)
    assert host.tcp(at(hosts, "db"), there, store) == address(hosts, "db", 4)
    assert host.tcp(there, at(hosts, "web"), address(hosts, "web", 4), within=0.3) is None
