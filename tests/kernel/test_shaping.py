"""Bandwidth on a real kernel: how much gets through, who may change it, and what is left once it is gone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ..cluster import apply, cluster
from ..isolation import inside
from ..machine import Machine

pytestmark = pytest.mark.needs_kernel("ifb")

MANIFEST = """
project: shop
networks:
  front:
    driver_opts: {name: front0}
    ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}
containers:
  web:
    networks:
      front:
        ipv4_address: 10.20.0.10
        ipv6_address: "fd00:20::10"
        bandwidth: {ingress: 16mbit, egress: {rate: 8mbit, burst: 32kb}}
  db: {networks: {front: {ipv4_address: 10.20.0.20, ipv6_address: "fd00:20::20"}}}
"""
UNSHAPED = MANIFEST.replace("        bandwidth: {ingress: 16mbit, egress: {rate: 8mbit, burst: 32kb}}\n", "")
INTO, OUT_OF = 16_000_000, 8_000_000

WEB = {4: "10.20.0.10", 6: "fd00:20::10"}
DB = {4: "10.20.0.20", 6: "fd00:20::20"}


@pytest.fixture
def manifest(host: Machine, tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST)
    host.netapply(path)
    return path


def received(host: Machine, netns: str) -> int:
    """Return the bytes that a container's interface has counted."""
    (link,) = host.json("ip -j -s link show dev eth0", netns=netns)
    return int(link["stats64"]["rx"]["bytes"])


def holds(host: Machine, sender: str, receiver: str, address: str, wanted: int, kind: int = socket.SOCK_STREAM) -> bool:
    """Whether a container gets what another sends at a rate in bit/s, if that one sends as much as it can.

    Never may it be a tenth more. It may be a tenth less for a second or two: a busy machine does not send more.
    """
    with flood(sender, receiver, address, kind):
        time.sleep(0.7)  # bursts are over, and TCP has found its pace
        for _ in range(8):
            start, before = time.monotonic(), received(host, receiver)
            time.sleep(1)
            after, end = received(host, receiver), time.monotonic()
            rate = (after - before) * 8 / (end - start)
            assert rate <= 1.1 * wanted
            if rate >= 0.9 * wanted:
                return True
    return False


@contextmanager
def flood(sender: str, receiver: str, address: str, kind: int) -> Iterator[None]:
    """Send, by TCP as fast as it goes, by UDP 90 Mbit/s or less."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(receiver):
        server = socket.create_server((address, 0), family=family) if kind == socket.SOCK_STREAM else None
        sink = server or socket.socket(family, kind)
    if server is None:
        sink.bind((address, 0))
    with inside(sender):
        source = socket.socket(family, kind)
    source.settimeout(5)
    source.connect(sink.getsockname()[:2])
    inner = server.accept()[0] if server else sink
    inner.settimeout(0.2)
    over = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not over.is_set():
                if kind == socket.SOCK_STREAM:
                    source.send(bytes(65536))
                    continue
                for _ in range(10):
                    source.send(bytes(1200))
                time.sleep(0.001)

    def receive() -> None:
        while not over.is_set():
            with suppress(OSError):
                inner.recv(1 << 20)

    threads = [threading.Thread(target=send), threading.Thread(target=receive)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
        for one in (source, inner, sink):
            one.close()


def queues(host: Machine) -> list[dict[str, object]]:
    """Return what `tc` says of the host's queues, without those that links have by themselves."""
    return [one for one in host.json("tc -j qdisc show") if one["kind"] in ("tbf", "ingress", "clsact")]


def names(host: Machine) -> tuple[str, str]:
    """Return the names of web's links in the host: the outer end of its pair, and the one that it sends by."""
    links = host.json("ip -j -d link")
    alias = {one.get("ifalias", "").partition(";")[0]: one["ifname"] for one in links}
    return alias["netapply:shop/web/front"], alias["netapply:shop/web/front#ifb"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_as_much_gets_through_as_was_asked_for_both_ways(host: Machine, manifest: Path, family: int, kind: int) -> None:
    assert holds(host, "db", "web", WEB[family], INTO, kind)
    assert holds(host, "web", "db", DB[family], OUT_OF, kind)


def test_a_change_is_made_in_place(host: Machine, manifest: Path) -> None:
    before = host.json("ip -j link")
    manifest.write_text(MANIFEST.replace("16mbit", "4mbit").replace("8mbit", "24mbit"))
    said = host.netapply(manifest).stdout
    assert "bandwidth in 16 Mbit/s → 4 Mbit/s" in said
    assert "bandwidth out 8 Mbit/s → 24 Mbit/s" in said
    assert "interrupts" not in said
    assert [one["ifindex"] for one in host.json("ip -j link")] == [one["ifindex"] for one in before]
    assert holds(host, "db", "web", WEB[4], 4_000_000)
    assert holds(host, "web", "db", DB[4], 24_000_000)


def test_root_in_the_container_cannot_lift_it(host: Machine, manifest: Path) -> None:
    host.run("tc qdisc replace dev eth0 root pfifo limit 1000", netns="web")
    host.run("tc qdisc add dev eth0 ingress", netns="web")
    assert holds(host, "web", "db", DB[4], OUT_OF)
    assert "nothing to do" in host.netapply(manifest).stdout


@pytest.mark.thorough
@pytest.mark.parametrize(
    "damage",
    [
        "tc qdisc del dev {veth} root",
        "tc qdisc del dev {ifb} root",
        "tc qdisc del dev {veth} ingress",
        "tc filter del dev {veth} ingress",
        "tc qdisc change dev {ifb} root handle 6e61: tbf rate 1gbit burst 1mb latency 50ms",
        "ip link del {ifb}",
        "ip link set {ifb} down",
    ],
)
def test_what_somebody_took_away_is_put_back(host: Machine, manifest: Path, damage: str) -> None:
    veth, ifb = names(host)
    whole = queues(host)
    host.run(damage.format(veth=veth, ifb=ifb))
    assert host.netapply("plan", "--detailed-exitcode", manifest, code=2).stdout.count("endpoint web") == 1
    host.netapply(manifest)
    assert sorted(map(key, queues(host))) == sorted(map(key, whole))
    assert holds(host, "web", "db", DB[4], OUT_OF)
    assert "nothing to do" in host.netapply(manifest).stdout


def key(one: dict[str, object]) -> str:
    return json.dumps({name: one.get(name) for name in ("kind", "handle", "dev", "options")}, sort_keys=True)


def test_nothing_of_it_is_left_when_the_manifest_says_no_more_of_it(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(UNSHAPED)
    host.netapply(path)
    before = host.snapshot(), host.run("tc qdisc").stdout
    path.write_text(MANIFEST)
    host.netapply(path)
    assert len(queues(host)) == 3
    path.write_text(UNSHAPED)
    said = host.netapply(path).stdout
    assert "- bandwidth 16 Mbit/s in, 8 Mbit/s out" in said
    assert (host.snapshot(), host.run("tc qdisc").stdout) == before


def test_all_goes_with_the_project(host: Machine, manifest: Path) -> None:
    host.netapply("destroy", manifest)
    assert queues(host) == []
    assert not [one for one in host.json("ip -j -d link") if one.get("linkinfo", {}).get("info_kind") == "ifb"]


def test_a_queue_of_somebody_elses_is_in_the_way_and_stays(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(UNSHAPED)
    host.netapply(path)
    links = {one.get("ifalias"): one["ifname"] for one in host.json("ip -j link")}
    veth = links["netapply:shop/web/front"]
    host.run(f"tc qdisc add dev {veth} root handle 1: tbf rate 1mbit burst 15k latency 50ms")
    before = queues(host)
    path.write_text(MANIFEST)
    refused = host.netapply(path, code=3).stderr
    mend = f"tc qdisc del dev {veth} root"
    assert mend in refused
    assert queues(host) == before
    path.write_text(UNSHAPED)
    assert "nothing to do" in host.netapply(path).stdout
    host.run(mend)
    path.write_text(MANIFEST)
    host.netapply(path)


def test_a_queue_in_the_place_of_ours_is_in_the_way_too(host: Machine, manifest: Path) -> None:
    for link in names(host):
        host.run(f"tc qdisc replace dev {link} root handle 1: tbf rate 1mbit burst 15k latency 50ms")
        refused = host.netapply(manifest, code=3).stderr
        mend = f"tc qdisc del dev {link} root"
        assert mend in refused
        host.run(mend)
        host.netapply(manifest)


def test_a_filter_of_somebody_elses_stays(host: Machine, manifest: Path) -> None:
    veth, _ = names(host)
    host.run(f"tc filter add dev {veth} ingress pref 7 protocol ip u32 match ip dst 192.0.2.7/32")
    theirs = [line for line in host.run(f"tc filter show dev {veth} ingress").stdout.splitlines() if "pref 7 " in line]
    assert "nothing to do" in host.netapply(manifest).stdout
    manifest.write_text(UNSHAPED)
    host.netapply(manifest)
    assert host.run(f"tc filter show dev {veth} ingress").stdout.splitlines()[: len(theirs)] == theirs
    manifest.write_text(MANIFEST)
    host.netapply(manifest)
    assert holds(host, "web", "db", DB[4], OUT_OF)


OVERLAY = """
project: shop
hosts: {one: {address: 192.0.2.1}, two: {address: 192.0.2.2}}
networks: {front: {driver: overlay, ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}}}
containers:
  web: {host: one, networks: {front: {ipv4_address: 10.50.0.10, bandwidth: {ingress: 16mbit, egress: 8mbit}}}}
  db: {host: two, networks: {front: {ipv4_address: 10.50.0.20}}}
"""


def test_on_a_network_that_spans_hosts_as_much_gets_through_as_was_asked_for_both_ways(host: Machine) -> None:
    hosts = cluster(host, ("one", "two"))
    apply(hosts, OVERLAY)
    web, db = hosts["one"].container("web"), hosts["two"].container("db")
    assert host.ping(web, "10.50.0.20")
    assert holds(host, db, web, "10.50.0.10", INTO)
    assert holds(host, web, db, "10.50.0.20", OUT_OF)


def test_status_and_json_say_it(host: Machine, manifest: Path) -> None:
    assert "bandwidth 16 Mbit/s in, 8 Mbit/s out" in host.netapply("status", manifest).stdout
    found = json.loads(host.netapply("status", "--format", "json", manifest).stdout)["resources"]
    assert {one["key"]: one["value"]["rate"] for one in found if one["kind"] == "shaper"} == {
        "web/front": INTO,
        "web/front#ifb": OUT_OF,
    }
