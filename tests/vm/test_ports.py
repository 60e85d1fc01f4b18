"""Published ports on a stock kernel: the rules load and work there, by ipvlan too, and for SCTP."""

from __future__ import annotations

import socket

import pytest

from tests.isolation import inside
from tests.kernel.test_host_access import HOST, HOST6, LAN
from tests.kernel.test_ports import GATEWAYS, both, shop
from tests.machine import Machine


@pytest.mark.parametrize("family", [4, 6])
def test_a_port_is_reached_from_outside_the_host_and_the_container_itself(host: Machine, family: int) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    assert both(host, "outside", "web", outside.host_address(family)) == outside.address(family)
    assert both(host, "web", "web", outside.host_address(family)) == GATEWAYS[family]
    if family == 4:
        assert both(host, "", "web", "127.0.0.1") == GATEWAYS[4]
    assert "nothing to do" in host.netapply("-", stdin=shop()).stdout


@pytest.mark.needs_kernel("ipvlan")
@pytest.mark.parametrize("family", [4, 6])
def test_an_ipvlan_container_is_published_by_the_hosts_access(host: Machine, family: int) -> None:
    host.outside()
    beyond = host.outside("beyond", "downlink", default_route=False)
    manifest = LAN.format(driver="ipvlan", options=f'{{parent: uplink, host_access: [{HOST}, "{HOST6}"]}}')
    host.netapply(
        "-", stdin=manifest.replace("  web: {networks", '  web: {ports: ["8080:80", "8080:80/udp"], networks')
    )
    address, access = (beyond.host_ipv4, HOST) if family == 4 else (beyond.host_ipv6, HOST6)
    assert both(host, "beyond", "web", address) == access


@pytest.mark.needs_kernel("sctp")
def test_sctp_associations_are_made_by_a_published_port(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop('["8080:80/sctp"]'))
    with inside("web"):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    with listener:
        listener.bind(("0.0.0.0", 80))
        listener.listen()
        listener.settimeout(10)
        with inside("outside"), socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as client:
            client.settimeout(10)
            client.connect((outside.host_ipv4, 8080))
            accepted, peer = listener.accept()
            with accepted:
                assert peer[0] == outside.ipv4
