"""Settings of the host, and nftables tables."""

from __future__ import annotations

from typing import ClassVar

from ..values import dataclass
from .names import HOST, Key


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting of the host, such as "net.ipv4.ip_forward". Never set back: others may rely on it by now."""

    KIND: ClassVar[str] = "sysctl"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    name: str
    value: str

    @property
    def key(self) -> Key:
        return Key("sysctl", self.name)

    @property
    def requires(self) -> tuple[Key, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class NftTable:
    """An nftables table: the project's in the host or in a sandbox, or the guard of the host that all projects share.

    `text` is the whole table as `nft -s list table` prints it; `Host.canonical` brings a desired one into that form.
    One in a sandbox is found by the tag NFT of a link there (docs/decisions/013-services.md).
    """

    KIND: ClassVar[str] = "nft"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    family: str
    name: str
    text: str
    sandbox: str = HOST

    @property
    def key(self) -> Key:
        return Key("nft", f"{self.sandbox} {self.family} {self.name}".lstrip())

    @property
    def requires(self) -> tuple[Key, ...]:
        return (Key("netns", self.sandbox),) if self.sandbox != HOST else ()
