"""X25519 (RFC 7748): the public key of a private one, as WireGuard has them.

The standard library has no such function, and the kernel's own can't be asked where WireGuard is not loaded. This takes
some milliseconds and not always the same time: it is for root on its own machine, who may read the private key anyway,
and never for what somebody else sends.
"""

from __future__ import annotations

_P = 2**255 - 19
_A24 = 121665  # (486662 - 2) / 4
_BASE = 9


def public_key(private: bytes) -> bytes:
    """Return the 32 bytes of the public key that belong to the 32 of a private one."""
    return multiplied(private, _BASE.to_bytes(32, "little"))


def clamped(private: bytes) -> bytes:
    """Return 32 bytes with those bits set and cleared that make a private key of them (RFC 7748, 5)."""
    octets = bytearray(private)
    octets[0] &= 248
    octets[31] = octets[31] & 127 | 64
    return bytes(octets)


def multiplied(scalar: bytes, point: bytes) -> bytes:
    """Return the function X25519 of RFC 7748, 5: 32 bytes of a scalar and of a point, little-endian."""
    k = int.from_bytes(clamped(scalar), "little")
    x1 = int.from_bytes(point, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swapped = 1, 0, x1, 1, 0
    for place in range(254, -1, -1):
        bit = k >> place & 1
        if swapped ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = bit
        x2, z2, x3, z3 = _step(x1, x2, z2, x3, z3)
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")


def _step(x1: int, x2: int, z2: int, x3: int, z3: int) -> tuple[int, int, int, int]:
    """Return one step of the Montgomery ladder, in the RFC's letters."""
    a, b = x2 + z2, x2 - z2
    aa, bb = a * a % _P, b * b % _P
    e = aa - bb
    da, cb = (x3 - z3) * a % _P, (x3 + z3) * b % _P
    return aa * bb % _P, e * (aa + _A24 * e) % _P, (da + cb) ** 2 % _P, x1 * (da - cb) ** 2 % _P
