"""The tests' own ground: an isolated host is empty, private, and gone afterwards."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.machine import Machine

DROP = "table inet t { chain c { type filter hook output priority 0; oifname uplink drop; }; }"

NewHost = Callable[[], AbstractContextManager[Machine]]


def test_a_new_host_has_only_its_loopback_link(host: Machine) -> None:
    assert [link["ifname"] for link in host.json("ip -j link")] == ["lo"]
    assert host.names() == []
    assert host.run("nft list ruleset").stdout == ""
    assert os.listdir("/sys/class/net") == ["lo"]
    assert host.ping("", "127.0.0.1")


def test_a_host_within_a_host_leaves_no_trace(host: Machine, new_host: NewHost) -> None:
    before = host.snapshot()
    directory = Path.cwd()
    with new_host() as other:
        other.outside()
        other.run("nft add table inet x")
        assert other.snapshot() != before
    assert host.snapshot() == before
    assert Path.cwd() == directory


def test_processes_end_with_their_host(new_host: NewHost) -> None:
    with new_host() as other:
        pid = other.process()
        orphan = int(other.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]).stdout)
        assert Path(f"/proc/{pid}").exists()
        assert Path(f"/proc/{orphan}").exists()
    for one in (pid, orphan):
        status = Path(f"/proc/{one}/status")  # until its parent has reaped it
        assert not status.exists() or "zombie" in status.read_text()


def test_a_host_can_be_left_while_other_threads_run(new_host: NewHost) -> None:
    end = threading.Event()
    with new_host():
        thread = threading.Thread(target=end.wait, args=(30,))
        thread.start()
    end.set()
    thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.mark.parametrize("family", [4, 6])
def test_the_outside_is_reached_and_sees_the_source(host: Machine, family: int) -> None:
    outside = host.outside()
    address, source = outside.address(family), outside.host_address(family)
    assert host.ping("", address)
    assert host.tcp("", outside.name, address) == source
    assert host.udp("", outside.name, address) == source
    assert host.tcp("outside", "", source) == address
    assert host.udp("outside", "", source) == address


def test_what_is_dropped_is_not_reached(host: Machine) -> None:
    outside = host.outside()
    host.run("nft -f -", stdin=DROP)
    assert not host.ping("", outside.ipv4, within=0.3)
    assert host.tcp("", outside.name, outside.ipv4, within=0.2) is None
    assert host.udp("", outside.name, outside.ipv4, within=0.2) is None


def test_a_ping_that_cannot_even_be_sent_is_not_taken_for_an_unreached_address(host: Machine) -> None:
    with pytest.raises(AssertionError, match="ended with 2"):
        host.ping("", "no.such.name.invalid")


def test_a_packet_larger_than_the_mtu_does_not_pass_unfragmented(host: Machine) -> None:
    outside = host.outside(mtu=1400)
    assert host.pings([("", outside.ipv4), ("", outside.ipv6)], size=1400, fragment=False) == [True, True]
    assert host.pings([("", outside.ipv4), ("", outside.ipv6)], size=1401, fragment=False, within=0.3) == [False, False]


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_counts_what_is_lost(host: Machine, family: int) -> None:
    outside = host.outside()
    loopback, address = ("127.0.0.1", outside.ipv4) if family == 4 else ("::1", outside.ipv6)
    with host.flow("", loopback) as unharmed, host.flow("", address) as cut:
        host.run("nft -f -", netns="outside", stdin=DROP.replace("output", "input").replace("oifname uplink", ""))
        assert not host.ping("", address, within=0.2)
        unharmed.go_on()
        cut.go_on()
    assert unharmed.sent > 10
    assert unharmed.lost == 0
    assert cut.lost > 10


def test_a_socket_belongs_to_its_namespace(host: Machine) -> None:
    host.netns("box")
    with host.socket("box", "127.0.0.1", 8000) as listener:
        assert listener.getsockname() == ("127.0.0.1", 8000)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 8000), timeout=1)


def test_bridged_packets_pass_the_firewall_or_not(host: Machine, bridge_nf: bool) -> None:
    if not Path("/proc/sys/net/bridge").exists():
        pytest.skip("needs the kernel module br_netfilter")
    assert host.sysctl("net.bridge.bridge-nf-call-iptables") == str(int(bridge_nf))
