"""Beside the real ufw and firewalld: what comes from other hosts and to published ports, and the mends that open it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import lab as labs
from .firewalls import OUTSIDE, Firewalld, Ufw, mends, outside, run_mends
from .lab import Lab

OVERLAY = f"""
project: shop
hosts: {{here: {{address: {OUTSIDE.host_ipv4}}}, there: {{address: {OUTSIDE.ipv4}}}}}
networks:
  front:
    driver: overlay
    internal: true
    driver_opts: {{vni: 77, port: 8472}}
    ipam: {{config: [{{subnet: 10.50.0.0/24}}]}}
containers:
  a: {{host: here, networks: [front]}}
  b: {{host: there, networks: [front]}}
"""
SENT = "drops what other hosts send for front (VXLAN, UDP port 8472)"


@pytest.fixture
def lab(canary: None, tmp_path: Path) -> Iterator[Lab]:
    with labs.lab(tmp_path) as new:
        outside(new)
        yield new


def arrives(lab: Lab) -> bool:
    """Whether a frame that the other host sends comes out of the host's VXLAN link."""
    (link,) = [
        one["ifname"] for one in lab.json("ip -j -d link") if one.get("linkinfo", {}).get("info_kind") == "vxlan"
    ]
    before = _received(lab, link)
    packet = struct.pack(">BxxxI", 8, 77 << 8) + b"\xff" * 6 + b"\x02\0\0\0\0\x01\x08\x06" + bytes(46)
    send = f"import socket; socket.socket(2, 2).sendto(bytes.fromhex('{packet.hex()}'), ('{OUTSIDE.host_ipv4}', 8472))"
    lab.run(["ip", "netns", "exec", "outside", "python3", "-c", send])
    lab.run(["ip", "netns", "exec", "outside", "ping", "-c", "1", "-W", "5", OUTSIDE.host_ipv4])  # it goes after that
    return _received(lab, link) > before


def _received(lab: Lab, link: str) -> int:
    (one,) = lab.json(f"ip -j -s link show dev {link}")
    return int(one["stats64"]["rx"]["packets"])


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["ufw", "firewalld"])
def test_what_other_hosts_send_is_let_in_as_the_firewall_is_told(lab: Lab, kind: str) -> None:
    if reason := labs.missing(
        *(["ufw", "iptables"] if kind == "ufw" else ["firewalld", "firewall-cmd", "dbus-daemon"])
    ):
        pytest.skip(reason)
    manifest = lab.manifest(OVERLAY)
    lab.netapply(manifest)
    assert arrives(lab)
    (Ufw(lab) if kind == "ufw" else Firewalld(lab)).start()
    assert lab.netapply("plan", manifest).count(SENT) == 1
    assert not arrives(lab)
    run_mends(lab, manifest)
    assert arrives(lab)
    assert "note" not in lab.netapply("plan", manifest)
    assert mends(lab, manifest) == []


PUBLISHED = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}
containers:
  web: {ports: ["8080:80"], networks: {front: {ipv4_address: 10.20.0.10}}}
"""


def test_ufw_that_lets_a_network_out_is_told_to_let_in_what_is_published(lab: Lab) -> None:
    if reason := labs.missing("ufw", "iptables"):
        pytest.skip(reason)
    manifest = lab.manifest(PUBLISHED)
    lab.netapply(manifest)
    Ufw(lab).start()
    lab.run("ufw route allow in on shop-front")
    said = lab.netapply("plan", manifest)
    assert "drops connections from elsewhere to port 8080/tcp, published for shop-front; ufw route allow" in said
    assert lab.tcp("web", "outside", OUTSIDE.ipv4) is not None
    assert lab.tcp("outside", "web", OUTSIDE.host_ipv4, 8080, target=80) is None
    run_mends(lab, manifest)
    assert lab.tcp("outside", "web", OUTSIDE.host_ipv4, 8080, target=80) is not None
    assert "note" not in lab.netapply("plan", manifest)
