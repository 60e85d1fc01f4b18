"""What a kernel may lack, found by trying: `@pytest.mark.needs_kernel("ipvlan")` asks here."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from .isolation import inside

TIMEOUT = 60
"""Seconds for one command of a probe: the kernel may have to load a module."""


class Feature(NamedTuple):
    """`name` is for people. `probe` makes a link "probe" with `ip link add`; `setting` is what that must have then.

    `protocol`: no link, but sockets of that protocol.
    """

    name: str
    probe: str = ""
    setting: tuple[str, int] | None = None
    protocol: int | None = None


FEATURES = {
    "dummy": Feature("dummy links", "probe type dummy"),
    "ifb": Feature("ifb links", "probe type ifb"),
    "ipvlan": Feature("ipvlan", "probe link parent type ipvlan mode l2"),
    "sctp": Feature("SCTP", protocol=socket.IPPROTO_SCTP),
    "vlan": Feature("VLAN links", "probe link parent type vlan id 5"),
    # a kernel without it takes the setting, and does nothing
    "vlan_filtering": Feature(
        "VLAN filtering in bridges", "probe type bridge vlan_filtering 1", setting=("vlan_filtering", 1)
    ),
    "wireguard": Feature("WireGuard", "probe type wireguard"),
}
"""By the names that tests use."""

REFUSALS = ("Unknown device type", "Operation not supported")
"""How `ip` says that the kernel does not know a kind of link (EOPNOTSUPP)."""


def lacking(names: Iterable[str]) -> str | None:
    """Return why tests that need these features can't run ("this kernel has no ipvlan, WireGuard"), None if they can.

    Raises KeyError for a name that is not in FEATURES.
    """
    missing = [FEATURES[name].name for name in names if not has(name)]
    return f"this kernel has no {', '.join(missing)}" if missing else None


@cache
def has(name: str) -> bool:
    """Whether the kernel has a feature, tried in a throw-away namespace. Needs root.

    AssertionError: the probe failed for another reason than that the kernel lacks it.
    """
    feature = FEATURES[name]
    if feature.protocol is not None:
        return _has_protocol(feature.protocol)
    with inside(None):
        _ip("link add parent type veth peer name other").check_returncode()
        made = _ip(f"link add {feature.probe}")
        if made.returncode and any(refusal in made.stderr for refusal in REFUSALS):
            return False
        assert made.returncode == 0, f"ip link add {feature.probe}: {made.stderr}"
        if feature.setting is None:
            return True
        setting, value = feature.setting
        (link,) = json.loads(_ip("-json -details link show dev probe").stdout)
        return bool(link["linkinfo"]["info_data"][setting] == value)


def _has_protocol(protocol: int) -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol).close()
    except OSError as refused:
        if refused.errno == errno.EPROTONOSUPPORT:
            return False
        raise
    return True


def _ip(arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, timeout=TIMEOUT, check=False)
