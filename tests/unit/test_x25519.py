"""X25519, by the vectors of RFC 7748."""

from __future__ import annotations

import pytest

from reconciler.x25519 import clamped, multiplied, public_key


@pytest.mark.parametrize(
    ("scalar", "point", "product"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_the_vectors_of_section_5_2_hold(scalar: str, point: str, product: str) -> None:
    assert multiplied(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == product


def test_the_iterated_vectors_of_section_5_2_hold() -> None:
    scalar = point = bytes.fromhex("09" + "00" * 31)
    for number in range(1, 1001):
        scalar, point = multiplied(scalar, point), scalar
        if number == 1:
            assert scalar.hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert scalar.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


ALICE, BOB = (
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
)
"""Private keys."""


def test_the_keys_of_section_6_1_belong_together() -> None:
    alice, bob = public_key(bytes.fromhex(ALICE)), public_key(bytes.fromhex(BOB))
    assert alice.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert multiplied(bytes.fromhex(ALICE), bob).hex() == multiplied(bytes.fromhex(BOB), alice).hex() == shared


def test_a_private_key_is_clamped_as_section_5_says() -> None:
    assert clamped(b"\xff" * 32) == b"\xf8" + b"\xff" * 30 + b"\x7f"
    assert clamped(b"\0" * 32) == b"\0" * 31 + b"\x40"
    assert public_key(b"\xff" * 32) == public_key(clamped(b"\xff" * 32))
