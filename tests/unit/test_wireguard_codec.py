"""WireGuard's messages say what pyroute2 says: each decodes what the other encodes. And no secret is decoded."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic.wireguard import wgmsg  # type: ignore[import-untyped]

from reconciler.host import wireguard
from reconciler.host.netlink import attribute, nested
from reconciler.resources import Wireguard, WireguardPeer

PRIVATE, PUBLIC = bytes(range(32)), bytes(range(32, 64))
KEY = b64encode(PUBLIC).decode()
TWO = WireguardPeer("#wireguard", KEY, "192.0.2.2:51820", ("fd00::2/128",))


def decoded(body: bytes) -> Any:
    """Decode the body of a message of ours with pyroute2's class."""
    message = wgmsg(struct.pack("=IHHII", 16 + len(body), 25, 5, 1, 0) + body)
    message.decode()
    return message


def test_the_key_and_the_port_of_a_link_are_encoded() -> None:
    message = decoded(wireguard.set_device(7, wireguard.identity(PRIVATE, 51820)))
    assert (message["cmd"], message["version"]) == (1, 1)
    assert message.get("WGDEVICE_A_IFINDEX") == 7
    assert message.get("WGDEVICE_A_PRIVATE_KEY") == b64encode(PRIVATE)
    assert message.get("WGDEVICE_A_LISTEN_PORT") == 51820


@pytest.mark.parametrize(
    ("endpoint", "family", "address"), [("192.0.2.2:51820", 2, "192.0.2.2"), ("[2001:db8::2]:51820", 10, "2001:db8::2")]
)
def test_a_peer_is_encoded(endpoint: str, family: int, address: str) -> None:
    one = WireguardPeer("#wireguard", KEY, endpoint, ("fd00::2/128", "10.0.0.0/8"))
    (peer,) = decoded(wireguard.set_device(7, wireguard.peer(one))).get("WGDEVICE_A_PEERS")
    assert peer.get("WGPEER_A_PUBLIC_KEY") == KEY.encode()
    assert peer.get("WGPEER_A_FLAGS") == 2  # WGPEER_F_REPLACE_ALLOWEDIPS
    assert peer.get("WGPEER_A_PRESHARED_KEY") == b64encode(bytes(32))
    where = peer.get("WGPEER_A_ENDPOINT")
    assert (where["family"], where["port"], where["addr"]) == (family, 51820, address)
    assert [one["addr"] for one in peer.get("WGPEER_A_ALLOWEDIPS")] == ["fd00::2/128", "10.0.0.0/8"]


def test_a_preshared_key_that_nobody_asks_about_is_left_alone() -> None:
    (peer,) = decoded(wireguard.set_device(7, wireguard.peer(TWO, whole=False))).get("WGDEVICE_A_PEERS")
    assert peer.get("WGPEER_A_PRESHARED_KEY") is None


def test_a_removal_is_encoded() -> None:
    (peer,) = decoded(wireguard.set_device(7, wireguard.no_peer(KEY))).get("WGDEVICE_A_PEERS")
    assert (peer.get("WGPEER_A_PUBLIC_KEY"), peer.get("WGPEER_A_FLAGS")) == (KEY.encode(), 1)  # WGPEER_F_REMOVE_ME


def told(*peers: bytes, secret: bytes = PRIVATE) -> bytes:
    """A message as the kernel sends it."""
    own = attribute(3, secret) + attribute(4, PUBLIC) + attribute(6, struct.pack("=H", 51820))
    return struct.pack("=BBH", 0, 1, 0) + attribute(1, b"\7\0\0\0") + own + nested(8, b"".join(peers))


def a_peer(number: int, *prefixes: int, preshared: bytes = bytes(32), endpoint: bytes = b"") -> bytes:
    body = attribute(1, bytes([number]) * 32) + attribute(2, preshared)
    body += attribute(4, endpoint) if endpoint else b""
    allowed = (
        nested(0, attribute(1, b"\x0a\0") + attribute(2, bytes(15) + bytes([one])) + attribute(3, b"\x80"))
        for one in prefixes
    )
    return nested(0, body + nested(9, b"".join(allowed)))


def test_a_link_and_its_peers_are_decoded_from_several_messages() -> None:
    four = struct.pack("=H", 2) + struct.pack("!H", 51820) + bytes([192, 0, 2, 2]) + bytes(8)
    six = struct.pack("=H", 10) + struct.pack("!H", 9) + bytes(4) + bytes(15) + b"\1" + bytes(4)
    messages = [told(a_peer(1, 5, endpoint=four), a_peer(2, 7, 6)), told(a_peer(2, 8), a_peer(3, endpoint=six))]
    one, two, three = (b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
    assert list(wireguard.resources("#wireguard", messages)) == [
        Wireguard("#wireguard", KEY, 51820),
        WireguardPeer("#wireguard", one, "", ("::5/128",)),
        WireguardPeer("#wireguard", two, "", ("::6/128", "::7/128", "::8/128")),
        WireguardPeer("#wireguard", three, "", ()),
    ]
    peers = [peer for peer in wireguard.resources("", messages) if isinstance(peer, WireguardPeer)]
    assert [peer.endpoint for peer in peers] == ["192.0.2.2:51820", "", "[::1]:9"]


def test_a_link_without_a_key_has_none() -> None:
    body = struct.pack("=BBH", 0, 1, 0) + attribute(6, b"\0\0")
    assert list(wireguard.resources("#wireguard", [body])) == [Wireguard("#wireguard", "", 0)]


@given(secret=st.binary(min_size=32, max_size=32), preshared=st.binary(min_size=32, max_size=32))
def test_what_is_seen_of_a_link_tells_nothing_of_its_secrets(secret: bytes, preshared: bytes) -> None:
    plain = repr(list(wireguard.resources("#wireguard", [told(a_peer(1, 5), secret=bytes(32))])))
    seen = repr(list(wireguard.resources("#wireguard", [told(a_peer(1, 5, preshared=preshared), secret=secret)])))
    assert seen.replace("preshared=True", "preshared=False") == plain
