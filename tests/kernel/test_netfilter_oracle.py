"""What netapply reads of connections, listening sockets and nftables is what pyroute2 reads, and pyroute2 reads what it
sends."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pyroute2 import DiagSocket, NFCTSocket  # type: ignore[import-untyped]
from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg  # type: ignore[import-untyped]
from pyroute2.netlink.nfnetlink.nftsocket import (  # type: ignore[import-untyped]
    nft_chain_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
    nft_set_msg,
    nft_table_msg,
)

from reconciler.host import conntrack, listeners, nft_wire
from tests.isolation import inside
from tests.machine import Machine

pytestmark = pytest.mark.root

SHOP = """
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}, ports: ["8080:80", "8053:53/udp"]}
  cl: {networks: [front]}
services:
  api: {network: front, containers: [web], ports: [80, 53/udp], vip: [10.20.0.200, "fd00:20::200"]}
"""


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """What closes the sockets of a test at its end."""
    with ExitStack() as stack:
        yield stack


def _decoded(kind: Any, data: bytes) -> Any:
    message = kind(data)
    message.decode()
    return message


def _plain(found: Any) -> Any:
    """Return a message's attributes as dicts, nested ones, too; what there is several times as a list."""
    if isinstance(found, list):
        return [_plain(one) for one in found]
    if not hasattr(found, "get_attr"):
        return found
    plain: dict[str, Any] = {}
    for name, value in found.get("attrs") or ():
        plain.setdefault(name, []).append(_plain(value))
    return {name: values[0] if len(values) == 1 else values for name, values in plain.items()}


# Connections


def _by_pyroute2(message: Any) -> tuple[Any, ...]:
    """Return of a connection where its first packet was sent, and who answers."""

    def end(direction: str, whose: str, port: str) -> tuple[str, int]:
        ends = message.get_attr(direction)
        ip, proto = ends.get_attr("CTA_TUPLE_IP"), ends.get_attr("CTA_TUPLE_PROTO")
        address = ip.get_attr(f"CTA_IP_V4_{whose}") or ip.get_attr(f"CTA_IP_V6_{whose}")
        return address, proto.get_attr(f"CTA_PROTO_{port}_PORT")

    return _protocol(message), *end("CTA_TUPLE_ORIG", "DST", "DST"), *end("CTA_TUPLE_REPLY", "SRC", "SRC")


def _by_us(flow: conntrack.Flow) -> tuple[Any, ...]:
    numbers = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
    asked, answers = (socket.inet_ntop(flow.family, one) for one in (flow.destination, flow.replier))
    return numbers[flow.protocol], asked, flow.port, answers, flow.replier_port


def _send(closing: ExitStack) -> None:
    """Connect and send by each published port, and from the host itself."""
    for family, web, gateway in (
        (socket.AF_INET, "10.20.0.10", "10.20.0.1"),
        (socket.AF_INET6, "fd00:20::10", "fd00:20::1"),
    ):
        for netns, address, port, kind in (
            ("cl", gateway, 8080, socket.SOCK_STREAM),
            ("cl", gateway, 8053, socket.SOCK_DGRAM),
            ("", web, 80, socket.SOCK_STREAM),
        ):
            with inside(netns):
                one = closing.enter_context(socket.socket(family, kind))
            one.settimeout(10)
            one.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                one.send(b"hello")


def _expected() -> set[tuple[Any, ...]]:
    found = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        with NFCTSocket(nfgen_family=family) as oracle:
            found |= {_by_pyroute2(one) for one in oracle.dump() if _protocol(one) in (6, 17)}
    return found


def _protocol(message: Any) -> int:
    return int(message.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_NUM"))


def test_connections_are_those_that_pyroute2_reads(host: Machine, closing: ExitStack) -> None:
    host.netapply("-", stdin=SHOP)
    for port, kind in ((80, socket.SOCK_STREAM), (53, socket.SOCK_DGRAM)):
        closing.enter_context(host.socket("web", "::", port, kind))
    _send(closing)
    expected = _expected()
    found = list(conntrack.flows())
    assert {_by_us(one) for one in found} == expected
    assert {one[0:3:2] for one in expected} >= {(6, 8080), (17, 8053), (6, 80)}
    assert {one.translated for one in found} == {True, False}
    for one in found:
        doomed = conntrack._message(conntrack._DELETE, conntrack._ACK, one.family, one.identity)
        asked = _decoded(nfct_msg, doomed)
        assert asked["nfgen_family"] == one.family
        assert _by_us(one)[1:3] == (
            asked.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_DST")
            or asked.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V6_DST"),
            asked.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_DST_PORT"),
        )
    assert conntrack.forget(lambda flow: flow.port == 8080, frozenset({8080})) == 2
    assert _expected() == {one for one in expected if one[2] != 8080}


# Sockets


def test_listening_sockets_are_those_that_pyroute2_reads(host: Machine, closing: ExitStack) -> None:
    for address, port in (("127.0.0.1", 7001), ("0.0.0.0", 7002), ("::1", 7003), ("::", 7004)):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            closing.enter_context(host.socket("", address, port, kind))
    for number, name, states in ((6, "tcp", 1 << 10), (17, "udp", 1 << 7)):
        expected = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            with DiagSocket() as oracle:
                for one in oracle.get_sock_stats(family=family, states=states, protocol=number):
                    expected.add((one["idiag_src"], one["idiag_sport"], one["idiag_inode"]))
        found = {(one.address, one.port, one.inode) for one in listeners._sockets(name)}
        both = {("0.0.0.0", port, inode) for address, port, inode in expected if address == "::"}
        assert found == expected | both
        assert {one[:2] for one in found} == {
            ("127.0.0.1", 7001), ("0.0.0.0", 7002), ("::1", 7003), ("::", 7004), ("0.0.0.0", 7004)
        }  # fmt: skip


# nftables

KINDS = {
    nft_wire._NEWTABLE: nft_table_msg,
    nft_wire._NEWCHAIN: nft_chain_msg,
    nft_wire._NEWRULE: nft_rule_msg,
    nft_wire._NEWSET: nft_set_msg,
    nft_wire._NEWSETELEM: nft_set_elem_list_msg,
}


def _whole(messages: list[nft_wire.Message]) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of a batch with their headers: type within nf_tables, bytes."""
    for kind, number, body in nft_wire._split(nft_wire.batch(nft_wire.INET, messages).data):
        if kind >> 8 == nft_wire._SUBSYSTEM >> 8:
            yield kind & 0xFF, struct.pack("=IHHII", 16 + len(body), kind, 0, number, 0) + body


def _listed(text: str) -> list[str]:
    return sorted(line.strip() for line in text.splitlines())


def test_what_is_sent_of_a_table_is_what_pyroute2_reads_and_nft_lists(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    name = "netapply-shop"
    with inside("cl"):
        messages = nft_wire.recorded(nft_wire.INET, name)
        listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    read = [(kind, _plain(_decoded(KINDS[kind], data))) for kind, data in _whole(messages)]
    assert len(read) == len(messages)
    tables = [one["NFTA_TABLE_NAME"] for kind, one in read if kind == nft_wire._NEWTABLE]
    chains = [one["NFTA_CHAIN_NAME"] for kind, one in read if kind == nft_wire._NEWCHAIN]
    sets = [one["NFTA_SET_NAME"] for kind, one in read if kind == nft_wire._NEWSET]
    rules = [one for kind, one in read if kind == nft_wire._NEWRULE]
    assert tables == [name]
    assert sorted(chains) == sorted(line.split()[1] for line in _listed(listed) if line.startswith("chain "))
    named = {line.split()[1] for line in _listed(listed) if line.startswith(("map ", "set "))}
    assert named <= set(sets)
    assert {one["NFTA_RULE_CHAIN"] for one in rules} <= set(chains)
    assert all(one["NFTA_RULE_EXPRESSIONS"] for one in rules)
    host.netns("copy")
    with inside("copy"):
        with nft_wire.NftSocket() as door:
            door.transact(nft_wire.batch(nft_wire.INET, messages))
        again = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert again == listed
