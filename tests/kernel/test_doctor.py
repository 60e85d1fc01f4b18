"""Doctor on a real kernel: each trouble is made, named, mended by the command as it is printed, and gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..machine import Machine, Outside, snapshot

MANIFEST = """
project: shop
networks:
  front: {mtu: 1500, ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10}}}
"""


@pytest.fixture
def manifest(host: Machine, manifest: Path) -> Path:
    """A manifest that was applied, on a host that is well."""
    assert troubles(host) == []
    return manifest


def findings(host: Machine, *arguments: str | Path, code: int | None = 0) -> list[dict[str, Any]]:
    said = host.netapply("doctor", "--format", "json", *arguments, code=code).stdout
    return list(json.loads(said)["findings"])


def troubles(host: Machine, *arguments: str | Path, code: int | None = None) -> list[dict[str, Any]]:
    """Return the warnings and errors."""
    found = findings(host, *arguments, code=code)
    return [one for one in found if one["severity"] in ("warning", "error")]


TROUBLES = {
    "forwarding": (["echo 0 > /proc/sys/net/ipv4/ip_forward"], 69),
    "forwarding of IPv6": (["echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"], 69),
    "forwarding of a bridge": (["echo 0 > /proc/sys/net/ipv4/conf/shop-front/forwarding"], 69),
    "forwarding of the way out": (["echo 0 > /proc/sys/net/ipv4/conf/uplink/forwarding"], 69),
    "iptables": (["iptables-nft -P FORWARD DROP"], 0),
    "legacy iptables": (["iptables-legacy -P FORWARD DROP"], 0),
    "a table by hand": (
        ["nft 'add table inet fw; add chain inet fw pass { type filter hook forward priority 5; policy drop; }'"],
        0,
    ),
    "two ways out": (
        [
            "ip link add second type veth peer name far && ip link set second up && ip link set far up",
            "ip addr add 198.51.100.1/24 dev second && ip route add default via 198.51.100.2 metric 50",
            "echo 1 > /proc/sys/net/ipv4/conf/second/rp_filter",
        ],
        0,
    ),
}


@pytest.mark.parametrize(("commands", "code"), TROUBLES.values(), ids=TROUBLES.keys())
def test_a_trouble_is_named_and_gone_after_its_mend(
    host: Machine, manifest: Path, commands: list[str], code: int
) -> None:
    for command in commands:
        host.run(["sh", "-c", command])
    before = snapshot()
    (one,) = troubles(host, code=code)
    assert one["is_command"]
    text = host.netapply("doctor", code=code).stdout
    assert f"{one['severity']:8}{one['subject']}: {one['what']}\n        # {one['mend']}\n" in text
    assert snapshot() == before
    host.run(["sh", "-c", one["mend"]])
    assert troubles(host, code=0) == []


@pytest.mark.parametrize("link", ["shop-front", "uplink"])
def test_forwarding_that_is_off_for_one_link_cuts_containers_off_and_the_mend_brings_them_back(
    host: Machine, outside: Outside, manifest: Path, link: str
) -> None:
    assert host.ping("web", outside.ipv4)
    host.sysctl(f"net.ipv4.conf.{link}.forwarding", "0")
    (one,) = troubles(host, manifest, code=69)
    assert one["what"].startswith(f"{link} has IPv4 forwarding off: ")
    assert not host.ping("web", outside.ipv4, within=0.5)
    host.run(one["mend"])
    assert host.ping("web", outside.ipv4)


def test_forwarding_of_ipv6_heeds_no_link(host: Machine, outside: Outside, manifest: Path) -> None:
    for link in ("shop-front", "uplink"):
        host.sysctl(f"net.ipv6.conf.{link}.forwarding", "0")
    host.run("ip -6 route replace default via 2001:db8:113::2 dev uplink")
    assert host.ping("web", outside.ipv6)
    assert troubles(host, manifest) == []


def test_frames_within_a_network_that_a_firewall_drops(host: Machine, manifest: Path) -> None:
    host.run("iptables-nft -P FORWARD DROP")
    host.bridge_nf(True)
    found = troubles(host)
    assert [one["subject"] for one in found] == ["firewall", "bridges"]
    host.run(["sh", "-c", found[1]["mend"]])
    assert [one["subject"] for one in troubles(host)] == ["firewall"]
    host.run(["sh", "-c", found[0]["mend"]])
    assert troubles(host) == []


def test_an_mtu_that_is_larger_than_the_way_out(host: Machine, manifest: Path) -> None:
    host.run("ip link set uplink mtu 1400")
    (one,) = troubles(host, code=0)
    assert one["subject"] == "mtu"
    assert one["mend"] == "give the network `mtu: 1400`"
    manifest.write_text(MANIFEST.replace("mtu: 1500", "mtu: 1400"))
    assert troubles(host, manifest, code=0) == []  # so it will be
    assert [one["subject"] for one in troubles(host)] == ["mtu"]  # so it is
    host.netapply(manifest)
    assert troubles(host) == []


def test_a_route_into_a_network(host: Machine, manifest: Path) -> None:
    host.run("ip route add 10.20.0.0/16 dev uplink")
    (one,) = troubles(host, code=0)
    assert one["what"] == "10.20.0.0/24 of shop-front overlaps with 10.20.0.0/16, which the host reaches by uplink"
    _, _, command = one["mend"].partition("remove the route: ")
    host.run(command)
    assert troubles(host) == []


def test_a_route_into_a_network_that_is_not_there_yet(host: Machine, outside: Outside, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST)
    host.run("ip route add 10.20.0.0/16 dev uplink")
    host.run("ip -6 route add fd00:20::/48 dev uplink")
    assert troubles(host) == []
    assert [one["what"] for one in troubles(host, path, code=0)] == [
        "10.20.0.0/24 of shop-front overlaps with 10.20.0.0/16, which the host reaches by uplink",
        "fd00:20::/64 of shop-front overlaps with fd00:20::/48, which the host reaches by uplink",
    ]
    for one in troubles(host, path):
        host.run(one["mend"].partition("remove the route: ")[2])
    assert troubles(host, path) == []


def test_why_a_manifest_would_be_refused_comes_with_its_mend(host: Machine, outside: Outside, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST.replace("10.20.0.10}}}", '10.20.0.10}}, ports: ["8080:80"]}'))
    with host.socket("", "0.0.0.0", 8080):
        (one,) = troubles(host, path, code=0)
    assert one["what"].startswith("applying it would be refused: port 8080/tcp")
    assert (one["mend"], one["is_command"]) == ("end that, or choose another port or host_ip", False)


def test_with_a_manifest_it_says_what_will_be_wrong(host: Machine, outside: Outside, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST.replace("mtu: 1500", "mtu: 9000"))
    host.run("iptables-nft -P FORWARD DROP")
    host.bridge_nf(False)
    found = troubles(host, path, code=0)
    assert [one["subject"] for one in found] == ["firewall", "mtu"]
    assert "shop-front" in found[0]["what"]
    assert troubles(host, code=0) == []
    host.netapply("doctor", "--detailed-exitcode", path, code=2)
    host.netapply("doctor", "--detailed-exitcode", code=0)
    path.write_text(MANIFEST.replace("front: {", "front: {driver: macvlan, driver_opts: {parent: eth9}, ", 1))
    (one,) = [one for one in troubles(host, path, code=69) if one["subject"] == "manifest"]
    assert "eth9" in one["what"]


def test_a_manifest_that_is_wrong_anywhere_is_an_error_of_its_own(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("project: shop\nnetwork: {}\n")
    assert "did you mean networks" in host.netapply("doctor", path, code=65).stderr


def test_without_rights_it_says_so(host: Machine) -> None:
    done = host.run(
        ["setpriv", "--bounding-set=-net_admin,-sys_admin", "--inh-caps=-net_admin,-sys_admin", *netapply(), "doctor"],
        check=False,
    )
    assert done.returncode == 77, done.stdout + done.stderr
    assert "error   capabilities: this process has not CAP_NET_ADMIN and CAP_SYS_ADMIN" in done.stdout


def netapply() -> Iterator[str]:
    from ..machine import NETAPPLY

    yield from NETAPPLY
