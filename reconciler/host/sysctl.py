"""Kernel settings under /proc/sys; those under net are those of the calling thread's network namespace."""

from __future__ import annotations

import errno
import os

from ..errors import HostLacks, NotPermitted, OperationFailed
from .namespaces import RIGHTS, Trap

_PER_LINK = (("net", "ipv4", "conf"), ("net", "ipv6", "conf"), ("net", "ipv4", "neigh"), ("net", "ipv6", "neigh"))


def path(name: str) -> str:
    """Return the file of a setting such as "net.ipv6.conf.eth0.20.accept_ra"; names of links may have dots."""
    words = name.split(".")
    if tuple(words[:3]) in _PER_LINK and len(words) > 4:
        words = [*words[:3], ".".join(words[3:-1]), words[-1]]
    return "/proc/sys/" + "/".join(words)


def of_link(key: str, link: str) -> str:
    """Return the full name of a link's setting: "ipv4.conf.rp_filter" of eth0 is "net.ipv4.conf.eth0.rp_filter".

    Raises OperationFailed for what is no setting of a link.
    """
    family, kind, setting = (*key.split("."), "", "")[:3]
    if ("net", family, kind) not in _PER_LINK or key.count(".") != 2 or "/" in key or setting in ("", ".."):
        raise OperationFailed(
            f"{key} is no setting of a link; such are ipv4.conf.NAME and ipv6.neigh.NAME", errno.EINVAL
        )
    return f"net.{family}.{kind}.{link}.{setting}"


def read(name: str) -> str | None:
    """Return the value, blanks made one space; None if there is no such setting or it can't be read."""
    try:
        with open(path(name), "rb", buffering=0) as file:
            return " ".join(file.read(4096).decode("utf-8", "replace").split())
    except OSError:
        return None


def write(name: str, value: str, trap: Trap) -> None:
    """Set it. Raises HostLacks, NotPermitted, and OperationFailed for a value that the kernel does not take."""
    try:
        trap(f"write {name}")
        descriptor = os.open(path(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode() + b"\n")
        finally:
            os.close(descriptor)
    except FileNotFoundError as missing:
        raise HostLacks(f"the kernel has no setting {name}; is its module loaded, is the name right?") from missing
    except PermissionError as denied:
        raise NotPermitted(f"{name} can't be written; {RIGHTS}") from denied
    except OSError as failure:
        reason = f"{os.strerror(failure.errno or 0)} ({errno.errorcode.get(failure.errno or 0, failure.errno)})"
        raise OperationFailed(f"{name} can't be set to {value}: {reason}", failure.errno or 0) from failure
