"""Private keys of WireGuard in files, as `wg genkey` writes them.

No private key is in a value that anything else sees, nor in an error: what goes wrong while one is read is told by the
file's name alone, and without the failure behind it, which may have the file's content.
"""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from contextlib import suppress

from ..errors import HostLacks, NotPermitted, OperationFailed
from ..x25519 import clamped
from ..x25519 import public_key as public_of

LENGTH = 32
"""Bytes of a key."""

_LONGEST = 256
"""Bytes that are read of a file: a key takes 45."""


def public_key(path: str) -> str:
    """Return the public key of the private one in a file. Raises as `private_key` does."""
    return text(public_of(private_key(path)))


def private_key(path: str) -> bytes:
    """Return the 32 bytes of the key in a file.

    Raises HostLacks where there is none, where the file holds something else, and where others than root may read it or
    have made it; NotPermitted where the caller may not read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        raise HostLacks(f"there is no private key in {path}; `netapply keys` makes one") from None
    except PermissionError:
        raise NotPermitted(f"the private key in {path} can't be read; run netapply as root") from None
    except OSError as failure:
        raise HostLacks(f"the private key in {path} can't be read: {failure.strerror}") from None
    try:
        _demand_secrecy(path, os.fstat(descriptor))
        content = os.read(descriptor, _LONGEST)
    except OSError as failure:
        raise HostLacks(f"the private key in {path} can't be read: {failure.strerror}") from None
    finally:
        os.close(descriptor)
    key = b""
    with suppress(ValueError):
        key = b64decode(content.strip(), validate=True)
    if len(key) != LENGTH:
        raise HostLacks(f"{path} holds no private key of WireGuard; remove it, and `netapply keys` makes one")
    return key


def _demand_secrecy(path: str, about: os.stat_result) -> None:
    """Raise HostLacks for a file that others than root can have read or made."""
    if not stat.S_ISREG(about.st_mode):
        raise HostLacks(f"{path} is no file that a private key can be in; name another private_key_file")
    if about.st_uid != 0:
        raise HostLacks(
            f"the private key in {path} belongs to the user {about.st_uid}, and must be root's;"
            f" chown root {path}, and replace the key if it may be known"
        )
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise HostLacks(
            f"the private key in {path} may be read by others than root (mode {stat.S_IMODE(about.st_mode):04o});"
            f" chmod 600 {path}, and replace the key if it may be known"
        )


def create(path: str) -> bool:
    """Make a file with a new private key, for root alone, and its folder if need be. False: there is a file already.

    It comes into being whole. Raises NotPermitted and OperationFailed.
    """
    if os.path.lexists(path):
        return False
    folder, draft = os.path.dirname(path), f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, text(clamped(os.urandom(LENGTH))).encode() + b"\n")
            os.fsync(descriptor)
            os.link(draft, path)
        finally:
            os.close(descriptor)
            os.unlink(draft)
    except PermissionError:
        raise NotPermitted(f"the private key {path} can't be made; run netapply as root") from None
    except OSError as failure:
        if os.path.lexists(path):
            return False  # somebody else was quicker
        raise OperationFailed(f"the private key {path} can't be made: {failure.strerror}", failure.errno or 0) from None
    return True


def text(key: bytes) -> str:
    """Return a key as WireGuard's tools write it."""
    return b64encode(key).decode()
