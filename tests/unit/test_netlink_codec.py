"""The netlink core says what pyroute2 says: each decodes what the other encodes, to the same fields."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]

from reconciler.errors import OperationFailed
from reconciler.host import kinds, neighbours, netlink, rtnetlink
from reconciler.host.neighbours import NeighbourRow
from reconciler.host.netlink import Message, Picker, attribute, attributes, nested
from reconciler.host.rtnetlink import AddressRow, RouteRow
from reconciler.resources import ROUTE_PROTOCOL
from tests.pyroute2_messages import encoded

MAC = "02:00:00:00:00:0a"


def decoded(kind: Callable[[bytes], Any], message: Message) -> dict[str, Any]:
    """Decode a message of ours with a message class of pyroute2: header and attributes, nested ones as dicts."""
    header = struct.pack("=IHHII", 16 + len(message.body), message.type, message.flags | netlink.REQUEST, 1, 0)
    found = kind(header + message.body)
    found.decode()
    return flat(found)


def flat(message: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in message.items() if name not in ("attrs", "header", "state")}
    for name, value, *_ in message.get("attrs", ()):
        fields[name] = flat(value) if isinstance(value, Mapping) else value
    return {name: value for name, value in fields.items() if value not in (0, (), None) or name.isupper()}


# --- what we encode


def test_a_veth_pair_is_encoded_with_its_peer_complete() -> None:
    peer = rtnetlink.link(name="eth0", mtu=1400, mac=MAC, group=77, netns_fd=9, one_queue=True)
    message = rtnetlink.new_link(
        rtnetlink.link(name="ve1", mtu=1400, group=77, one_queue=True, kind="veth", options=rtnetlink.veth_peer(peer))
    )
    common = {"IFLA_MTU": 1400, "IFLA_GROUP": 77, "IFLA_NUM_TX_QUEUES": 1, "IFLA_NUM_RX_QUEUES": 1}
    inner = {"IFLA_IFNAME": "eth0", "IFLA_ADDRESS": MAC, "IFLA_NET_NS_FD": 9, **common}
    info = {"IFLA_INFO_KIND": "veth", "IFLA_INFO_DATA": {"VETH_INFO_PEER": inner}}
    assert decoded(ifinfmsg, message) == {"IFLA_IFNAME": "ve1", **common, "IFLA_LINKINFO": info}
    assert (message.type, message.flags) == (16, 0x600 | 0x8)  # RTM_NEWLINK; create, exclusively, and echo


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("macvlan", {"mode": "private"}, {"IFLA_MACVLAN_MODE": "private"}),
        ("macvlan", {"mode": "passthru"}, {"IFLA_MACVLAN_MODE": "passthru"}),
        (
            "bridge",
            {"stp_state": True, "forward_delay": 4, "vlan_filtering": False, "mcast_snooping": True},
            {"IFLA_BR_STP_STATE": 1, "IFLA_BR_FORWARD_DELAY": 400, "IFLA_BR_VLAN_FILTERING": 0}
            | {"IFLA_BR_MCAST_SNOOPING": 1},
        ),
    ],
)
def test_options_of_a_kind_are_encoded(kind: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    body = rtnetlink.link(name="x", parent=3, kind=kind, options=kinds.encode(kinds.KINDS[kind], options))
    info = decoded(ifinfmsg, rtnetlink.new_link(body))["IFLA_LINKINFO"]
    assert info == {"IFLA_INFO_KIND": kind, "IFLA_INFO_DATA": expected}
    assert kinds.decode(kinds.KINDS[kind], kinds.encode(kinds.KINDS[kind], options)) == options


def test_a_queue_length_that_pyroute2_does_not_know_is_the_attribute_of_the_kernel_header() -> None:
    assert kinds.encode(kinds.KINDS["macvlan"], {"bc_queue_len": 5}) == struct.pack("=HHI", 8, 7, 5)


def test_options_that_a_new_link_has_anyway_are_left_out() -> None:
    fields = kinds.KINDS["bridge"]
    assert kinds.special(fields, {"vlan_filtering": False, "forward_delay": 15, "stp_state": True}) == {
        "stp_state": True
    }


def test_settings_of_a_link_are_encoded() -> None:
    port = kinds.encode(kinds.PORT, {"isolated": True, "hairpin": False})
    body = rtnetlink.link(
        index=4, up=True, name="new", mtu=1300, mac=MAC, alias="netapply:p/x", master=0, parent=2, ipv6=False, port=port
    )
    slave = {"IFLA_INFO_SLAVE_KIND": "bridge"}
    slave["IFLA_INFO_SLAVE_DATA"] = {"IFLA_BRPORT_ISOLATED": 1, "IFLA_BRPORT_MODE": 0}  # type: ignore[assignment]
    assert decoded(ifinfmsg, rtnetlink.set_link(body)) == {
        "index": 4,
        "flags": 1,
        "change": 1,
        "IFLA_IFNAME": "new",
        "IFLA_MTU": 1300,
        "IFLA_ADDRESS": MAC,
        "IFLA_IFALIAS": "netapply:p/x",
        "IFLA_MASTER": 0,
        "IFLA_LINK": 2,
        "IFLA_AF_SPEC": {"AF_INET6": {"IFLA_INET6_ADDR_GEN_MODE": 1}},
        "IFLA_LINKINFO": slave,
    }


def test_taking_a_link_down_changes_that_flag_only() -> None:
    assert decoded(ifinfmsg, rtnetlink.set_link(rtnetlink.link(index=4, up=False))) == {"index": 4, "change": 1}


def test_promoting_secondary_addresses_is_a_setting_of_ipv4() -> None:
    body = rtnetlink.link(index=4, promote=True)  # pyroute2 decodes only what the kernel says, not what it is told
    (families,) = (payload for number, payload in attributes(body, 16) if number == 26)
    settings = dict(attributes(dict(attributes(dict(attributes(families))[socket.AF_INET]))[1]))  # IFLA_INET_CONF
    assert settings == {20: struct.pack("=I", 1)}  # IPV4_DEVCONF_PROMOTE_SECONDARIES


def test_an_alias_has_no_zero_at_its_end_and_an_empty_one_takes_it_away() -> None:
    assert attribute(20, b"x" * 255) in rtnetlink.link(index=1, alias="x" * 255)
    assert attribute(20, b"") in rtnetlink.link(index=1, alias="")


def test_deletions_and_questions_about_links_are_encoded() -> None:
    assert decoded(ifinfmsg, rtnetlink.delete_link(7)) == {"index": 7}
    assert decoded(ifinfmsg, rtnetlink.delete_group(99)) == {"IFLA_GROUP": 99}
    assert decoded(ifinfmsg, rtnetlink.get_link("eth0")) == {"IFLA_IFNAME": "eth0", "IFLA_EXT_MASK": 8}
    assert decoded(ifinfmsg, Message(rtnetlink.GETLINK, 0, rtnetlink.all_links())) == {"IFLA_EXT_MASK": 8}


@pytest.mark.parametrize(
    ("text", "family", "attrs"),
    [
        ("10.20.0.10/24", socket.AF_INET, {"IFA_LOCAL": "10.20.0.10", "IFA_ADDRESS": "10.20.0.10"}),
        ("fd00:20::a/64", socket.AF_INET6, {"IFA_LOCAL": "fd00:20::a"}),
    ],
)
def test_addresses_are_encoded(text: str, family: int, attrs: dict[str, Any]) -> None:
    body = {"family": family, "prefixlen": int(text.partition("/")[2]), "index": 4}
    ours = {"IFA_PROTO": 110} | ({"IFA_FLAGS": 2} if family == socket.AF_INET6 else {})  # IFA_F_NODAD
    assert decoded(ifaddrmsg, rtnetlink.new_address(4, text)) == body | attrs | ours
    assert decoded(ifaddrmsg, rtnetlink.delete_address(4, text)) == body | attrs
    assert decoded(ifaddrmsg, Message(rtnetlink.GETADDR, 0, rtnetlink.all_addresses())) == {}


@pytest.mark.parametrize(
    ("destination", "via", "link", "kind", "expected"),
    [
        ("0.0.0.0/0", "10.1.1.1", 4, "unicast", {"family": 2, "type": 1, "RTA_GATEWAY": "10.1.1.1", "RTA_OIF": 4}),
        ("10.0.0.0/8", None, 4, "unicast", {"family": 2, "type": 1, "dst_len": 8, "scope": 253, "RTA_OIF": 4}),
        ("10.0.0.0/8", None, None, "blackhole", {"family": 2, "type": 6, "dst_len": 8}),
        ("fd01::/48", None, None, "unreachable", {"family": 10, "type": 7, "dst_len": 48}),
        ("fd01::/48", None, None, "prohibit", {"family": 10, "type": 8, "dst_len": 48}),
        ("::/0", "fe80::1", 5, "unicast", {"family": 10, "type": 1, "RTA_GATEWAY": "fe80::1", "RTA_OIF": 5}),
    ],
)
def test_routes_are_encoded(
    destination: str, via: str | None, link: int | None, kind: str, expected: dict[str, Any]
) -> None:
    body = rtnetlink.route(destination, via=via, link=link, metric=7, kind=kind)
    host, _, length = destination.partition("/")
    expected = {"table": 254, "proto": 110, "RTA_PRIORITY": 7, **expected}
    if length != "0":
        expected["RTA_DST"] = host
    for message in (rtnetlink.new_route(body), rtnetlink.replace_route(body), rtnetlink.delete_route(body)):
        assert decoded(rtmsg, message) == expected


def test_an_ipv4_route_is_deleted_whatever_its_scope() -> None:
    body = rtnetlink.route("10.0.0.0/8", via=None, link=4, metric=0, delete=True)
    assert decoded(rtmsg, rtnetlink.delete_route(body))["scope"] == 255  # RT_SCOPE_NOWHERE


def test_questions_about_routes_and_namespaces_are_encoded() -> None:
    question = decoded(rtmsg, Message(rtnetlink.GETROUTE, 0, rtnetlink.main_routes()))
    assert question == {"table": 254, "RTA_TABLE": 254}
    assert decoded(nsidmsg, rtnetlink.get_nsid(5)) == {"NETNSA_FD": 5}


# --- what we decode


def test_a_link_is_decoded() -> None:
    body = encoded(
        ifinfmsg,
        {"index": 5, "flags": 0x1043},
        [
            ("IFLA_IFNAME", "ve1"),
            ("IFLA_MTU", 1400),
            ("IFLA_ADDRESS", MAC),
            ("IFLA_GROUP", 77),
            ("IFLA_IFALIAS", "netapply:p/web/front"),
            ("IFLA_MASTER", 3),
            ("IFLA_LINK", 9),
            ("IFLA_LINK_NETNSID", 2),
            ("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}),
            (
                "IFLA_LINKINFO",
                {
                    "attrs": [
                        ("IFLA_INFO_KIND", "macvlan"),
                        ("IFLA_INFO_DATA", {"attrs": [("IFLA_MACVLAN_MODE", "vepa")]}),
                        ("IFLA_INFO_SLAVE_KIND", "bridge"),
                        (
                            "IFLA_INFO_SLAVE_DATA",
                            {"attrs": [("IFLA_BRPORT_ISOLATED", 1), ("IFLA_BRPORT_MODE", 0)]},
                        ),
                    ]
                },
            ),
        ],
    )
    row = rtnetlink.link_row(body)
    assert (row.ifindex, row.up, row.name, row.kind) == (5, True, "ve1", "macvlan")
    assert (row.mtu, row.mac, row.group, row.alias) == (1400, MAC, 77, "netapply:p/web/front")
    assert (row.master, row.below, row.below_nsid, row.ipv6) == (3, 9, 2, False)
    assert kinds.decode(kinds.KINDS["macvlan"], row.data) == {"mode": "vepa"}
    assert kinds.decode(kinds.PORT, row.port_data) == {"isolated": True, "hairpin": False}


def test_a_link_without_ipv6_makes_no_addresses() -> None:
    row = rtnetlink.link_row(encoded(ifinfmsg, {"index": 5}, [("IFLA_IFNAME", "x")]))
    assert (row.ipv6, row.accept_ra, row.forwards_ipv6, row.below_nsid) == (False, 0, False, None)


def test_router_advertisements_and_forwarding_are_read_from_the_ipv6_settings() -> None:
    settings = struct.pack("=5I", 1, 64, 1500, 2, 1)  # DEVCONF_FORWARDING, HOPLIMIT, MTU6, ACCEPT_RA
    families = nested(26, nested(socket.AF_INET6, attribute(2, settings) + attribute(8, b"\0")))
    row = rtnetlink.link_row(rtnetlink.link(index=3) + families)
    assert (row.accept_ra, row.forwards_ipv6, row.ipv6) == (2, True, True)


@pytest.mark.parametrize(
    ("family", "attrs", "expected"),
    [
        (
            socket.AF_INET,
            [("IFA_ADDRESS", "10.0.0.1"), ("IFA_LOCAL", "10.0.0.1"), ("IFA_PROTO", 110)],
            "10.0.0.1/24",
        ),
        (socket.AF_INET, [("IFA_ADDRESS", "10.0.0.2"), ("IFA_LOCAL", "10.0.0.1"), ("IFA_PROTO", 110)], "10.0.0.1/24"),
        (socket.AF_INET6, [("IFA_ADDRESS", "fd00::1"), ("IFA_PROTO", 110)], "fd00::1/24"),
    ],
)
def test_an_address_is_decoded(family: int, attrs: list[tuple[str, Any]], expected: str) -> None:
    body = encoded(ifaddrmsg, {"family": family, "prefixlen": 24, "index": 4, "scope": 253}, attrs)
    assert rtnetlink.address_row(body) == AddressRow(4, expected, 110, 253)
    assert rtnetlink.index_of_address(body) == 4


@pytest.mark.parametrize(
    ("fields", "attrs", "expected"),
    [
        (
            {"family": 2, "dst_len": 8, "type": 1, "proto": 110},
            [("RTA_DST", "10.0.0.0"), ("RTA_OIF", 4), ("RTA_GATEWAY", "10.1.1.1"), ("RTA_PRIORITY", 7)],
            RouteRow("10.0.0.0/8", "10.1.1.1", 4, 7, "unicast", 110),
        ),
        ({"family": 2, "type": 1, "proto": 2}, [("RTA_OIF", 4)], RouteRow("0.0.0.0/0", None, 4, 0, "unicast", 2)),
        (
            {"family": 10, "dst_len": 48, "type": 7, "proto": 110},
            [("RTA_DST", "fd01::"), ("RTA_PRIORITY", 1024)],
            RouteRow("fd01::/48", None, 0, 1024, "unreachable", 110),
        ),
        (
            {"family": 2, "type": 1, "proto": 3},
            [("RTA_MULTIPATH", [{"oif": 6, "hops": 0, "flags": 0, "attrs": [("RTA_GATEWAY", "10.1.1.2")]}])],
            RouteRow("0.0.0.0/0", "10.1.1.2", 6, 0, "unicast", 3),
        ),
    ],
)
def test_a_route_is_decoded(fields: dict[str, Any], attrs: list[tuple[str, Any]], expected: RouteRow) -> None:
    body = encoded(rtmsg, {"table": 254, **fields}, attrs)
    assert rtnetlink.route_row(body) == expected
    assert rtnetlink.protocol_of_route(body) == expected.protocol


def test_routes_of_other_tables_are_none_of_ours() -> None:
    assert rtnetlink.route_row(encoded(rtmsg, {"family": 2, "table": 255}, [("RTA_OIF", 4)])) is None


def test_the_number_of_a_namespace_is_decoded() -> None:
    assert rtnetlink.nsid(b"\0\0\0\0" + attribute(1, struct.pack("=i", 3))) == 3
    assert rtnetlink.nsid(b"\0\0\0\0" + attribute(1, struct.pack("=i", -1))) is None
    assert rtnetlink.nsid(b"") is None


NUMBERS = st.integers(1, 60)
MESSAGES = st.lists(st.tuples(NUMBERS, st.binary(max_size=9)), max_size=12, unique_by=lambda item: item[0])


@given(messages=st.lists(MESSAGES, max_size=20), wanted=st.sets(NUMBERS, max_size=5))
def test_a_picker_picks_what_walking_through_finds(messages: list[list[tuple[int, bytes]]], wanted: set[int]) -> None:
    picker = Picker(*wanted, start=4)
    for items in messages:
        body = b"head" + b"".join(attribute(number, payload) for number, payload in items)
        walked = {number: payload for number, payload in attributes(body, 4) if number in wanted}
        assert picker.pick(body) == picker.pick(body) == walked


@given(st.binary(max_size=80))
def test_garbage_ends_a_message_and_raises_nothing(garbage: bytes) -> None:
    assert all(0 <= number < 0x4000 for number, _ in attributes(garbage))
    Picker(1, 2, 3).pick(garbage)


# --- sending


class FakeSocket:
    """Stands in for the kernel: answers each message that is sent as the test says."""

    def __init__(self, answer: Callable[[int, bytes], list[bytes]]) -> None:
        self.answer, self.queue, self.sent = answer, list[bytes](), list[bytes]()

    def setsockopt(self, *arguments: object) -> None: ...

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        offset = 0
        while offset < len(data):
            length, _, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            self.queue += self.answer(sequence, data[offset : offset + length])
            offset += length + 3 & ~3

    def recv(self, size: int) -> bytes:
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        return self.queue.pop(0)


def packed(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def acknowledged(sequence: int, number: int = 0, words: str = "") -> bytes:
    """An acknowledgement as linux/netlink.h has it, capped, with NLMSGERR_ATTR_MSG if there are words."""
    tlvs = attribute(1, words.encode() + b"\0") if words else b""
    return packed(2, 0x100 | (0x200 if words else 0), sequence, struct.pack("=i", -number) + bytes(16) + tlvs)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, bytes], list[bytes]]], netlink.Socket]:
    def make(answer: Callable[[int, bytes], list[bytes]]) -> netlink.Socket:
        monkeypatch.setattr("socket.socket", lambda *_: FakeSocket(answer))
        return netlink.Socket()

    return make


Door = Callable[[Callable[[int, bytes], list[bytes]]], netlink.Socket]


def test_each_message_gets_its_own_answer_and_all_are_tried(door: Door) -> None:
    def answer(sequence: int, message: bytes) -> list[bytes]:
        if message[16:] == b"fail":
            return [acknowledged(sequence, errno.EEXIST, "it is there")]
        return [packed(16, 0, sequence, b"echo"), acknowledged(sequence)]

    answers = door(answer).send([Message(16, 0, b"good"), Message(16, 0, b"fail"), Message(16, 0, b"good")])
    assert [one.errno for one in answers] == [0, errno.EEXIST, 0]
    assert [one.echo for one in answers] == [b"echo", b"", b"echo"]
    assert answers[1].reason == "it is there (EEXIST)"


def test_many_messages_are_sent_in_pieces_that_fit_the_buffers(door: Door) -> None:
    socket_ = door(lambda sequence, message: [acknowledged(sequence)])
    assert len(socket_.send([Message(16, 0, bytes(400))] * 1000)) == 1000
    sent = socket_._socket.sent  # type: ignore[attr-defined]
    assert max(map(len, sent)) <= 33 << 10
    assert len(sent) >= 1000 // 128


def test_no_answer_is_an_error_and_not_a_wait(door: Door) -> None:
    with pytest.raises(OperationFailed, match="no answer within 10 seconds"):
        door(lambda sequence, message: []).send([Message(16, 0, b"")])


def test_a_list_that_changed_meanwhile_is_asked_for_again(door: Door) -> None:
    asked: list[int] = []

    def answer(sequence: int, message: bytes) -> list[bytes]:
        asked.append(sequence)
        interrupted = 0x10 if len(asked) < 3 else 0
        return [packed(16, 2 | interrupted, sequence, b"row!"), packed(3, 2, sequence, bytes(4))]

    assert door(answer).dump(18, b"") == [b"row!"]
    assert len(asked) == 3


def test_a_list_that_never_stands_still_is_an_error(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "TIMEOUT", 0.02)
    with pytest.raises(OperationFailed, match="never stood still") as caught:
        door(lambda sequence, message: [packed(3, 0x12, sequence, bytes(4))]).dump(18, b"")
    assert caught.value.errno == errno.EINTR


def test_a_refused_list_is_an_error_with_its_number(door: Door) -> None:
    with pytest.raises(OperationFailed, match="Operation not supported") as caught:
        door(lambda sequence, message: [acknowledged(sequence, errno.EOPNOTSUPP)]).dump(18, b"")
    assert caught.value.errno == errno.EOPNOTSUPP


# --- forwarding entries and neighbours


@pytest.mark.parametrize(("via", "family"), [("192.0.2.9", "AF_INET"), ("2001:db8::9", "AF_INET6")])
def test_a_forwarding_entry_is_encoded_with_both_halves(via: str, family: str) -> None:
    flags = neighbours.SELF | neighbours.MASTER
    message = Message(neighbours.NEWNEIGH, netlink.CREATE | netlink.EXCL, neighbours.fdb(7, MAC, via, flags))
    expected = {"family": socket.AF_BRIDGE, "ifindex": 7, "flags": 0x06}
    assert decoded(ndmsg, message) == {**expected, "NDA_LLADDR": MAC, "NDA_DST": via}
    assert message.type == RTM_NEWNEIGH
    assert neighbours.neighbour_row(message.body).state == neighbours.OURS


@pytest.mark.parametrize("address", ["10.20.0.9", "fd00:20::9"])
def test_a_neighbour_is_encoded_with_our_number_and_deleted_without(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = Message(neighbours.NEWNEIGH, netlink.CREATE, neighbours.neighbour(7, address, MAC))
    common = {"family": family, "ifindex": 7, "NDA_DST": address}
    assert decoded(ndmsg, made) == {**common, "NDA_LLADDR": MAC, "NDA_PROTOCOL": ROUTE_PROTOCOL}
    assert neighbours.neighbour_row(made.body).state == neighbours.PERMANENT
    gone = Message(neighbours.DELNEIGH, 0, neighbours.neighbour(7, address, None))
    assert decoded(ndmsg, gone) == common
    assert gone.type == RTM_DELNEIGH


def test_neighbours_are_asked_for_link_by_link() -> None:
    message = Message(neighbours.GETNEIGH, netlink.DUMP, neighbours.all_neighbours(7))
    assert decoded(ndmsg, message) == {"NDA_IFINDEX": 7}
    assert message.type == RTM_GETNEIGH
    assert decoded(ndmsg, Message(neighbours.GETNEIGH, netlink.DUMP, neighbours.all_fdb(7))) == {
        "family": socket.AF_BRIDGE,
        "ifindex": 7,
    }


@given(
    address=st.ip_addresses().map(str),
    mac=st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":")),
    state=st.integers(0, 0xFFFF),
    flags=st.integers(0, 0xFF),
    bridge=st.booleans(),
)
def test_neighbours_are_decoded_as_pyroute2_encodes_them(
    address: str, mac: str, state: int, flags: int, bridge: bool
) -> None:
    family = socket.AF_BRIDGE if bridge else socket.AF_INET6 if ":" in address else socket.AF_INET
    fields = {"family": family, "ifindex": 9, "state": state, "flags": flags}
    body = encoded(ndmsg, fields, [("NDA_DST", address), ("NDA_LLADDR", mac), ("NDA_PROTOCOL", 110)])
    row = neighbours.neighbour_row(body)
    assert row == NeighbourRow(family, 9, state, flags, row.address, mac, 110)
    assert ip_address(row.address) == ip_address(address)


def test_options_of_a_vxlan_link_are_those_of_pyroute2() -> None:
    options: dict[str, Any] = {"id": 5000, "local": "192.0.2.1", "learning": False, "port": 4789}
    body = rtnetlink.link(name="x", kind="vxlan", options=kinds.encode(kinds.KINDS["vxlan"], options))
    info = decoded(ifinfmsg, rtnetlink.new_link(body))["IFLA_LINKINFO"]["IFLA_INFO_DATA"]
    assert info == {
        "IFLA_VXLAN_ID": 5000,
        "IFLA_VXLAN_LOCAL": "192.0.2.1",
        "IFLA_VXLAN_LEARNING": 0,
        "IFLA_VXLAN_PORT": 4789,
    }
    over_ipv6: dict[str, Any] = {"local6": "2001:db8::1"}
    assert kinds.decode(kinds.KINDS["vxlan"], kinds.encode(kinds.KINDS["vxlan"], over_ipv6)) == over_ipv6


def test_options_of_a_port_are_those_of_pyroute2() -> None:
    port = kinds.encode(kinds.PORT, dict.fromkeys(kinds.PORT, False))
    body = rtnetlink.link(index=4, port=port)
    found = decoded(ifinfmsg, rtnetlink.set_link(body))["IFLA_LINKINFO"]["IFLA_INFO_SLAVE_DATA"]
    assert found.keys() == {
        *("IFLA_BRPORT_MODE", "IFLA_BRPORT_LEARNING", "IFLA_BRPORT_UNICAST_FLOOD", "IFLA_BRPORT_MCAST_FLOOD"),
        *("IFLA_BRPORT_BCAST_FLOOD", "IFLA_BRPORT_NEIGH_SUPPRESS", "IFLA_BRPORT_ISOLATED"),
    }


def test_a_next_hop_that_is_taken_for_a_neighbour_is_so_by_a_flag() -> None:
    body = rtnetlink.route("10.1.0.0/24", via="10.1.0.1", link=7, metric=0, onlink=True)
    assert decoded(rtmsg, rtnetlink.new_route(body))["flags"] == 4
    row = rtnetlink.route_row(body)
    assert row is not None
    assert row.onlink
