"""Load balancing on real traffic: who is reached by a virtual IP, whom it sees, and what becomes of it on changes."""

from __future__ import annotations

import errno
import os
import select
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.firewall.services import virtual_ips
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from tests.cluster import WORLD_IPV4, WORLD_IPV6, Host, apply, cluster
from tests.isolation import inside
from tests.machine import Machine

from .balanced import servers
from .test_killed import kill, run_in_a_child
from .test_rollback import Counting, raising

BACKENDS = ("api-1", "api-2", "api-3")
SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  client: {networks: {front: {ipv4_address: 10.20.0.9, ipv6_address: "fd00:20::9"}}}
  api-1: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
  api-2: {networks: {front: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}}}
  api-3: {networks: {front: {ipv4_address: 10.20.0.13, ipv6_address: "fd00:20::13"}}}
services:
  api: {network: front, containers: ["api-*"], vip: [10.20.0.200, "fd00:20::200"]}
"""
VIP = {4: "10.20.0.200", 6: "fd00:20::200"}
CLIENT = {4: "10.20.0.9", 6: "fd00:20::9"}
OWN = {4: "10.20.0.11", 6: "fd00:20::11"}

families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
kinds = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])


def nothing_to_do(host: Machine, manifest: str) -> bool:
    return "nothing to do" in host.netapply("plan", "-", stdin=manifest).stdout


def table(host: Machine, container: str) -> str:
    return host.run("nft -s list ruleset", netns=container).stdout


@families
@kinds
def test_connections_to_a_virtual_ip_are_spread_evenly_and_the_source_is_kept(
    host: Machine, bridge_nf: bool, family: int, kind: int
) -> None:
    host.netapply("-", stdin=SHOP)
    with servers(host, BACKENDS, 8000, ipv6=family == 6, kind=kind) as api:
        found = [api.connect("client", VIP[family], 8000) for _ in range(30)]
    assert {peer for one in found if one for peer in one[1:]} == {CLIENT[family]}
    assert sorted(one[0] for one in found if one) == sorted(BACKENDS * 10)
    assert nothing_to_do(host, SHOP)


@families
def test_three_thousand_connections_are_spread_within_two_percent(host: Machine, family: int) -> None:
    host.netapply("-", stdin=SHOP)
    with servers(host, BACKENDS, 8000, ipv6=family == 6) as api:
        found = api.spread("client", VIP[family], 8000, 3000 if family == 4 else 300)
    assert found.total() == sum(found[name] for name in BACKENDS)
    assert all(abs(found[name] - found.total() / 3) <= 0.02 * found.total() for name in BACKENDS)


@families
@kinds
def test_a_container_that_serves_reaches_itself_by_the_virtual_ip_too(
    host: Machine, bridge_nf: bool, family: int, kind: int
) -> None:
    host.netapply("-", stdin=SHOP)
    with servers(host, BACKENDS, 8000, ipv6=family == 6, kind=kind) as api:
        found = {api.connect("api-1", VIP[family], 8000) for _ in range(6)}
    assert found == {(name, OWN[family]) for name in BACKENDS}


@families
def test_the_virtual_ip_answers_pings_of_containers_and_of_the_host(
    host: Machine, bridge_nf: bool, family: int
) -> None:
    host.netapply("-", stdin=SHOP)
    assert host.pings([(name, VIP[family]) for name in ("client", "api-1", "")]) == [True] * 3


@families
@kinds
def test_the_host_is_a_client_as_containers_are(host: Machine, bridge_nf: bool, family: int, kind: int) -> None:
    host.netapply("-", stdin=SHOP)
    with servers(host, BACKENDS, 8000, ipv6=family == 6, kind=kind) as api:
        assert host.ping("", VIP[family])  # its own address may still be in duplicate detection
        found = {api.connect("", VIP[family], 8000) for _ in range(6)}
    gateway = "10.20.0.1" if family == 4 else "fd00:20::1"
    assert found == {(name, gateway) for name in BACKENDS}


@families
def test_only_the_ports_of_a_service_are_served_and_others_refuse_at_once(host: Machine, family: int) -> None:
    manifest = SHOP.replace('"api-*"], ', '"api-*"], ports: [8000, 53/udp], ')
    host.netapply("-", stdin=manifest)
    with servers(host, BACKENDS, 8000, ipv6=family == 6) as api:
        assert api.spread("client", VIP[family], 8000, 6) == dict.fromkeys(BACKENDS, 2)
    with servers(host, BACKENDS, 9000, ipv6=family == 6), pytest.raises(ConnectionRefusedError):
        connect(host, "client", VIP[family], 9000)
    with servers(host, BACKENDS, 53, ipv6=family == 6, kind=socket.SOCK_DGRAM) as api:
        assert api.spread("client", VIP[family], 53, 6) == dict.fromkeys(BACKENDS, 2)
    assert host.ping("client", VIP[family])


def connect(host: Machine, client: str, address: str, port: int) -> None:
    with inside(client):
        socket.create_connection((address, port), timeout=0.5).close()  # before another try


@families
def test_a_container_with_a_weight_has_as_many_turns(host: Machine, family: int) -> None:
    host.netapply("-", stdin=SHOP.replace('"api-*"], ', '"api-*"], weights: {api-2: 4, "api-*": 2}, '))
    with servers(host, BACKENDS, 8000, ipv6=family == 6) as api:
        assert api.spread("client", VIP[family], 8000, 40) == {"api-1": 10, "api-2": 20, "api-3": 10}


@families
def test_with_affinity_a_client_stays_with_one_container_and_clients_differ(host: Machine, family: int) -> None:
    more = "".join(f"  c{number}: {{networks: [front]}}\n" for number in range(12))
    manifest = SHOP.replace("services:\n", f"{more}services:\n").replace('"api-*"], ', '"api-*"], affinity: client, ')
    host.netapply("-", stdin=manifest)
    with servers(host, BACKENDS, 8000, ipv6=family == 6) as api:
        found = [api.spread(f"c{number}", VIP[family], 8000, 3) for number in range(12)]
    assert all(len(one) == 1 for one in found)
    assert {name for one in found for name in one} == set(BACKENDS)


def test_a_container_that_leaves_keeps_its_connections_and_gets_no_new_ones(host: Machine, bridge_nf: bool) -> None:
    host.netapply("-", stdin=SHOP)
    with host.socket("api-3", "0.0.0.0", 8000) as listener:
        for _ in range(3):  # it is the turn of one after the other
            with suppress(ConnectionRefusedError), inside("client"):
                connection = socket.create_connection((VIP[4], 8000), timeout=1)
        accepted, _ = listener.accept()
        host.netapply("-", stdin=SHOP.replace('"api-*"', "api-1, api-2"))
        connection.sendall(b"still")
        assert accepted.recv(16) == b"still"
        accepted.sendall(b"there")
        assert connection.recv(16) == b"there"
        accepted.close()
        connection.close()
    with servers(host, BACKENDS, 8001) as api:
        assert api.spread("client", VIP[4], 8001, 10) == {"api-1": 5, "api-2": 5}


@families
def test_datagrams_that_go_on_from_the_same_port_go_to_those_who_serve_by_now(host: Machine, family: int) -> None:
    host.netapply("-", stdin=SHOP.replace('"api-*"', "api-3"))
    with servers(host, BACKENDS, 53, ipv6=family == 6, kind=socket.SOCK_DGRAM) as api:
        served = api.serve("client", VIP[family], 53)
        assert served is not None
        sender, name, _ = served
        assert name == "api-3"
        host.netapply("-", stdin=SHOP.replace('"api-*"', "api-1"))
        sender.send(b"again")
        ready, _, _ = select.select(list(api.listeners.values()), [], [], 1)
        assert ready == [api.listeners["api-1"]]
        sender.close()


def test_a_container_that_does_not_run_gets_nothing_and_all_at_the_next_run(host: Machine) -> None:
    manifest = SHOP.replace("api-3: {", "api-3: {sandbox: {netns: api-3, create: false}, ")
    host.netapply("-", stdin=manifest)
    with servers(host, BACKENDS[:2], 8000) as api:
        assert api.spread("client", VIP[4], 8000, 10) == {"api-1": 5, "api-2": 5}
    host.netns("api-3")
    host.netapply("-", stdin=manifest)
    with servers(host, BACKENDS, 8000) as api:
        assert api.spread("client", VIP[4], 8000, 6) == dict.fromkeys(BACKENDS, 2)
    host.run("ip netns del api-3")
    host.netapply("-", stdin=manifest)
    with servers(host, BACKENDS[:2], 8000) as api:
        assert api.spread("client", VIP[4], 8000, 10) == {"api-1": 5, "api-2": 5}


@families
def test_a_service_that_nobody_serves_refuses_at_once_and_says_so(host: Machine, family: int) -> None:
    manifest = SHOP.replace("api-3: {", "api-3: {sandbox: {netns: api-3, create: false}, ").replace('"api-*"', "api-3")
    done = host.netapply("-", stdin=manifest)
    assert "service api has no container that runs" in done.stdout + done.stderr
    with pytest.raises(ConnectionRefusedError):
        connect(host, "client", VIP[family], 8000)
    assert nothing_to_do(host, manifest)


@pytest.mark.parametrize(
    "edit",
    [
        "delete table inet netapply-shop",
        "add rule inet netapply-shop nat_output accept",
        "flush chain inet netapply-shop service_api",
        "add element inet netapply-shop services_ipv4 { 10.20.0.201 . tcp : goto service_api }",
    ],
)
def test_a_table_in_a_container_that_somebody_edited_is_drift_and_mended(host: Machine, edit: str) -> None:
    host.netapply("-", stdin=SHOP)
    before = table(host, "client")
    host.run(["nft", edit], netns="client")
    assert table(host, "client") != before
    host.netapply("plan", "-", "--detailed-exitcode", stdin=SHOP, code=2)
    host.netapply("-", stdin=SHOP)
    assert table(host, "client") == before
    assert nothing_to_do(host, SHOP)


def test_a_foreign_table_in_a_container_stays_as_it_is(host: Machine) -> None:
    host.netns("client")
    manifest = SHOP.replace("client: {", "client: {sandbox: {netns: client, create: false}, ")
    host.run(["nft", "add table inet mine { chain c { type filter hook input priority 0; } ; }"], netns="client")
    before = table(host, "client")
    host.netapply("-", stdin=manifest)
    assert before in table(host, "client")
    host.run(["nft", "add rule inet mine c accept"], netns="client")
    assert nothing_to_do(host, manifest)
    before = host.run("nft -s list table inet mine", netns="client").stdout
    host.netapply("destroy", "-", stdin=manifest)
    assert table(host, "client") == before


def test_a_foreign_table_of_the_same_name_is_in_the_way(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    host.run(["nft", "delete table inet netapply-shop; add table inet netapply-shop"], netns="client")
    done = host.netapply("-", stdin=SHOP, code=3)
    assert "nft table inet netapply-shop in container client is taken" in done.stderr
    assert table(host, "client") == "table inet netapply-shop {\n}\n"


def test_a_foreign_table_of_the_same_name_in_a_new_container_is_not_overwritten(host: Machine) -> None:
    host.netns("client")
    host.run(["nft", "add table inet netapply-shop"], netns="client")
    manifest = SHOP.replace("client: {", "client: {sandbox: {netns: client, create: false}, ")
    done = host.netapply("-", stdin=manifest, code=1)
    assert "a table that netapply did not make" in done.stderr
    assert table(host, "client") == "table inet netapply-shop {\n}\n"


def test_a_container_that_was_made_anew_has_the_services_again(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    host.run("ip netns del client")
    host.netapply("-", stdin=SHOP)
    with servers(host, BACKENDS, 8000) as api:
        assert api.spread("client", VIP[4], 8000, 6) == dict.fromkeys(BACKENDS, 2)
    assert nothing_to_do(host, SHOP)


def test_what_a_removed_service_left_in_containers_goes_and_nothing_else(host: Machine) -> None:
    without = SHOP.partition("services:")[0]
    host.netapply("-", stdin=without)
    before = {name: host.snapshot(name) for name in ("client", "api-1")}
    host.netapply("-", stdin=SHOP)
    assert table(host, "client")
    host.netapply("-", stdin=without)
    assert {name: host.snapshot(name) for name in before} == before
    assert nothing_to_do(host, without)


def test_destroying_removes_the_tables_from_namespaces_that_stay(host: Machine) -> None:
    host.netns("client")
    manifest = SHOP.replace("client: {", "client: {sandbox: {netns: client, create: false}, ")
    before = host.snapshot("client")
    host.netapply("-", stdin=manifest)
    host.netapply("destroy", "--project", "shop")
    assert host.snapshot("client") == before


def test_a_virtual_ip_stays_when_containers_come_and_go(host: Machine) -> None:
    manifest = SHOP.replace(', vip: [10.20.0.200, "fd00:20::200"]', "").replace("10.20.0.0/24", "10.20.0.0/27")
    host.netapply("-", stdin=manifest)
    before = [line for line in table(host, "client").splitlines() if "icmp :" in line]
    more = "".join(f"  a{number}: {{networks: [front]}}\n" for number in range(20))
    host.netapply("-", stdin=manifest.replace("services:\n", f"{more}services:\n"))
    assert [line for line in table(host, "a1").splitlines() if "icmp :" in line] == before
    assert len(before) == 2


@families
@kinds
def test_a_published_port_leads_to_the_service_and_keeps_the_source(
    host: Machine, bridge_nf: bool, family: int, kind: int
) -> None:
    outside = host.outside()
    word = "8080:80" if kind == socket.SOCK_STREAM else "8080:80/udp"
    host.netapply("-", stdin=SHOP.replace('"api-*"], ', f'"api-*"], ports: ["{word}"], '))
    to, source = (outside.host_ipv4, outside.ipv4) if family == 4 else (outside.host_ipv6, outside.ipv6)
    assert host.ping("outside", to)
    with servers(host, BACKENDS, 80, ipv6=family == 6, kind=kind) as api:
        found = [api.connect("outside", to, 8080) for _ in range(6)]
        from_the_host = {api.connect("", to, 8080) for _ in range(3)}
    assert sorted(one for one in found if one) == sorted((name, source) for name in BACKENDS * 2)
    assert len(from_the_host) == 3


SPANNING = """
project: shop
hosts: {HOSTS}
networks:
  front: {driver: overlay, ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}}
containers:
  client: {host: one, networks: [front]}
  api-1: {host: one, networks: [front]}
  api-2: {host: two, networks: [front]}
  api-3: {host: three, networks: [front]}
services:
  api: {network: front, containers: ["api-*"]}
"""


@families
def test_a_service_has_the_same_address_on_all_hosts_and_its_containers_see_who_asks(
    host: Machine, family: int
) -> None:
    hosts = cluster(host)
    addresses = ", ".join(f"{name}: {{address: {one.ipv4}}}" for name, one in hosts.items())
    apply(hosts, SPANNING.replace("{HOSTS}", f"{{{addresses}}}"))
    where = {"client": "one", "api-1": "one", "api-2": "two", "api-3": "three"}
    places = {name: hosts[at].container(name) for name, at in where.items()}
    tables = {host.run("nft -s list ruleset", netns=place).stdout for place in places.values()}
    assert len(tables) == 1
    (vip,) = (one for one, _ in virtual_ips(tables.pop()) if (":" in one) == (family == 6))
    backends = [places[name] for name in BACKENDS]
    with servers(host, backends, 8000, ipv6=family == 6) as api:
        assert host.ping(places["client"], vip)
        found = {api.connect(places["client"], vip, 8000) for _ in range(6)}
    (source,) = (one for one in host.addresses(places["client"], family) if one.startswith(("10.50.", "fd00:50:")))
    assert found == {(place, source) for place in backends}


@families
def test_a_published_port_works_on_every_host_and_only_where_it_runs_in_mode_host(host: Machine, family: int) -> None:
    hosts = cluster(host)
    addresses = ", ".join(f"{name}: {{address: {one.ipv4}}}" for name, one in hosts.items())
    ports = 'ports: ["8080:80", {target: 80, published: 8081, mode: host}]'
    manifest = SPANNING.replace("{HOSTS}", f"{{{addresses}}}").replace("api-1: {host: one", "api-1: {host: two")
    apply(hosts, manifest.replace('"api-*"]', f'"api-*"], {ports}'))
    backends = [hosts[at].container(name) for name, at in (("api-1", "two"), ("api-2", "two"), ("api-3", "three"))]
    world = WORLD_IPV4 if family == 4 else WORLD_IPV6
    with servers(host, backends, 80, ipv6=family == 6) as api:
        assert host.ping(hosts["one"].netns, hosts["two"].address_of(family))
        reached = {
            name: {api.connect("", one.address_of(family), 8080, world) for _ in range(6)}
            for name, one in hosts.items()
        }
        kept = {name: api.connect("", one.address_of(family), 8081, world) for name, one in hosts.items()}
        by_vip = {api.connect(hosts["one"].netns, vip(host, hosts, family), 80) for _ in range(6)}
    assert reached["two"] == {(backends[0], world), (backends[1], world)}
    assert reached["three"] == {(backends[2], world)}
    assert {one[0] for one in reached["one"] if one} == set(backends)
    assert {one and one[1] for one in reached["one"]} == {one and one[1] for one in by_vip}
    assert {one[0] for one in by_vip if one} == set(backends)
    assert kept["one"] is None
    assert kept["two"] in {(one, world) for one in backends[:2]}
    assert nothing_to_do_on(hosts, manifest.replace('"api-*"]', f'"api-*"], {ports}'))


def vip(host: Machine, hosts: dict[str, Host], family: int) -> str:
    """Return the virtual IP of the service that spans hosts."""
    text = host.run("nft -s list ruleset", netns=hosts["one"].container("client")).stdout
    return next(one for one, _ in virtual_ips(text) if (":" in one) == (family == 6))


def nothing_to_do_on(hosts: dict[str, Host], manifest: str) -> bool:
    return all("nothing to do" in one.netapply("plan", "-", stdin=manifest).stdout for one in hosts.values())


def test_on_a_macvlan_network_services_work_as_they_do_on_a_bridge(host: Machine) -> None:
    host.run("ip link add lan0 type veth peer name lan1")
    host.run("ip link set lan0 up")
    host.run("ip link set lan1 up")
    manifest = SHOP.replace("front: {ipam", "front: {driver: macvlan, driver_opts: {parent: lan0}, ipam")
    host.netapply("-", stdin=manifest)
    for family, address in VIP.items():
        assert host.ping("client", address)
        with servers(host, BACKENDS, 8000, ipv6=family == 6) as api:
            found = [api.connect("client", address, 8000) for _ in range(6)]
        assert sorted(one for one in found if one) == sorted((name, CLIENT[family]) for name in BACKENDS * 2)
    assert nothing_to_do(host, manifest)


def test_containers_in_one_namespace_have_one_table_for_the_services_of_both(host: Machine) -> None:
    host.netns("pod")
    pod = "{sandbox: {netns: pod, create: false}, networks: [front]}"
    pid = f"{{sandbox: {{pid: {process_in(host, 'pod')}}}, networks: [back]}}"
    more = f"  pod: {pod}\n  db: {{networks: [back]}}\n  pid: {pid}\n"
    manifest = SHOP.replace("containers:\n", f"containers:\n{more}", 1).replace(
        "networks:\n", "networks:\n  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}\n", 1
    )
    manifest += "  store: {network: back, containers: [db], vip: 10.21.0.200}\n"
    host.netapply("-", stdin=manifest)
    assert nothing_to_do(host, manifest)
    with servers(host, BACKENDS, 8000) as api, servers(host, ["db"], 9000) as store:
        assert api.spread("pod", VIP[4], 8000, 3) == dict.fromkeys(BACKENDS, 1)
        assert store.spread("pod", "10.21.0.200", 9000, 2) == {"db": 2}
    host.run("ip addr flush dev eth0 scope global", netns="pod")  # what is mended there is verified there alone
    host.netapply("-", stdin=manifest)
    assert nothing_to_do(host, manifest)
    host.netapply("destroy", "-", stdin=manifest)
    assert table(host, "pod") == ""


def test_without_pruning_a_container_that_left_a_namespace_to_others_reaches_its_services_still(host: Machine) -> None:
    host.netns("pod")
    back = "networks:\n  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}\n"
    leaving = "  pod: {sandbox: {netns: pod, create: false}, networks: [front]}\n"
    staying = f"  web: {{sandbox: {{pid: {process_in(host, 'pod')}}}, networks: [back]}}\n"
    manifest = SHOP.replace("networks:\n", back, 1).replace("containers:\n", f"containers:\n{leaving}{staying}", 1)
    host.netapply("-", stdin=manifest)
    before = table(host, "pod")
    host.netapply("-", "--no-prune", stdin=manifest.replace(leaving, ""))
    assert table(host, "pod") == before
    with servers(host, BACKENDS, 8000) as api:
        assert api.spread("pod", VIP[4], 8000, 3) == dict.fromkeys(BACKENDS, 1)
    assert "nothing to do" in host.netapply("plan", "-", "--no-prune", stdin=manifest.replace(leaving, "")).stdout
    host.netapply("-", stdin=manifest.replace(leaving, ""))
    assert table(host, "pod") == ""


def process_in(host: Machine, netns: str) -> int:
    """Start a process in a namespace and return its PID."""
    with inside(netns):
        return host.start(["sleep", "600"]).pid


@pytest.mark.thorough
@pytest.mark.parametrize("adding", [True, False], ids=["added", "removed"])
def test_killed_at_any_operation_the_next_run_finds_every_table(host: Machine, tmp_path: Path, adding: bool) -> None:
    paths = [tmp_path / "without.yaml", tmp_path / "with.yaml"]
    for path, text in zip(paths, (SHOP.partition("services:")[0], SHOP), strict=True):
        path.write_text(text)
    before, after = (load([str(path)]) for path in (paths if adding else reversed(paths)))
    engine.converge(before, LinuxHost())
    counted = Counting(None, lambda: None)
    engine.converge(after, LinuxHost(trap=counted))
    there = [table(host, name) for name in ("client", *BACKENDS)]
    for at in range(counted.seen):
        engine.converge(before, LinuxHost())
        assert os.WIFSIGNALED(run_in_a_child(after, Counting(at, kill)))
        engine.converge(after, LinuxHost())
        assert not engine.plan(after, LinuxHost()).plan
        assert [table(host, name) for name in ("client", *BACKENDS)] == there


@pytest.mark.parametrize("adding", [True, False], ids=["added", "removed"])
def test_a_failure_at_any_operation_leaves_every_table_as_it_was(host: Machine, tmp_path: Path, adding: bool) -> None:
    paths = [tmp_path / "without.yaml", tmp_path / "with.yaml"]
    for path, text in zip(paths, (SHOP.partition("services:")[0], SHOP), strict=True):
        path.write_text(text)
    before, after = (load([str(path)]) for path in (paths if adding else reversed(paths)))
    engine.converge(before, LinuxHost())
    there = [host.snapshot(name) for name in ("", "client", *BACKENDS)]
    at = 0
    while True:
        trap = Counting(at, raising(errno.ENOBUFS))
        try:
            engine.converge(after, LinuxHost(trap=trap))
        except ApplyFailed:
            assert [host.snapshot(name) for name in ("", "client", *BACKENDS)] == there
        else:
            break
        at += 1
    assert at > 10
