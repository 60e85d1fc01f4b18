"""WireGuard: who a link is, and whom it talks to."""

from __future__ import annotations

from typing import ClassVar

from ..values import dataclass, field
from .names import Key


@dataclass(frozen=True, slots=True)
class Wireguard:
    """Who a WireGuard link of ours is: its public key as `wg` prints it, and the UDP port that it is reached at.

    The private key is in the kernel and in `key_file`, and in no value. Observed, `public_key` is "" and the port
    0 where it has none.
    """

    KIND: ClassVar[str] = "wireguard"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    public_key: str
    listen_port: int
    key_file: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return Key("wireguard", self.link)

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.link),)


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """Whom a WireGuard link of ours talks to, and which addresses are behind that one: prefixes, sorted.

    `endpoint` is where to send to before the peer has been heard of ("192.0.2.12:51820", "[2001:db8::12]:51820"). From
    then on the kernel follows the peer, so that it is not compared; `reconciler.allocation.tunnels` gives whoever moves
    another address. `preshared`: somebody has set a preshared key. `host` is the peer's name, for who reads of it.
    """

    KIND: ClassVar[str] = "peer"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    public_key: str
    endpoint: str = field(compare=False)
    allowed_ips: tuple[str, ...]
    preshared: bool = False
    host: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return Key("peer", f"{self.link} {self.public_key}")

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("link", self.link),)
