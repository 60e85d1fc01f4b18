"""The examples that need what not every kernel has, which tests/kernel skips elsewhere, with their traffic."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel import test_manifests
from tests.machine import Machine

ALWAYS = ("ipvlan-l2", "macvlan-vlan")
"""Those that take least, of two kinds of link. The others are for `make test-vm`."""

EXAMPLES = [
    pytest.param(
        path,
        marks=[
            pytest.mark.needs_kernel(*test_manifests.NEEDS[path.stem]),
            *([] if path.stem in ALWAYS else [pytest.mark.thorough]),
        ],
        id=path.stem,
    )
    for path in test_manifests.EXAMPLES
    if path.stem in test_manifests.NEEDS
]


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_works_is_idempotent_and_goes_without_a_trace(path: Path, host: Machine) -> None:
    test_manifests.test_an_example_works_is_idempotent_and_goes_without_a_trace(path, host)
