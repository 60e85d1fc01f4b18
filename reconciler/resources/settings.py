"""What is the host's as a whole: settings and firewall tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .names import Key


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
    """An nftables table in the host's namespace: the project's, or the guard that all projects share.

    `text` is the whole table as `nft -s list table` prints it; `Host.canonical` brings a desired one into that form.
    """

    KIND: ClassVar[str] = "nft"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    family: str
    name: str
    text: str

    @property
    def key(self) -> Key:
        return Key("nft", f"{self.family} {self.name}")

    @property
    def requires(self) -> tuple[Key, ...]:
        return ()
