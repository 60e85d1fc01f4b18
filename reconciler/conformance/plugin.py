"""The suite's pytest options, and the driver that they name.

It is no plugin that pytest loads by itself: nobody's test run is to change because netapply is installed.
"""

from __future__ import annotations

import json

import pytest

from ..drivers import available
from ..plugins import sources
from .subject import Subject

EXAMPLES, FEW = 30, 5
"""How many manifests each check is tried with; the second for executables, which take 20 ms for each answer."""

pytest.register_assert_rewrite("reconciler.conformance.checks")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("netapply", "netapply's conformance suite for drivers")
    group.addoption("--netapply-driver", metavar="NAME", help="The driver to try, as a manifest names it.")
    group.addoption(
        "--netapply-manifest",
        metavar="JSON",
        default="{}",
        help="What every manifest with it needs; the network * stands for every network, the container * for every "
        'container: \'{"networks": {"*": {"driver_opts": {"parent": "eth0"}}}}\'.',
    )
    group.addoption(
        "--netapply-kernel",
        action="store_true",
        help="Try it on the kernel, too: as root, by `python -m reconciler.conformance`, which isolates it.",
    )
    group.addoption(
        "--netapply-examples",
        metavar="N",
        type=int,
        help=f"How many manifests each check is tried with ({EXAMPLES}, or {FEW} with an executable).",
    )


_SUBJECT = pytest.StashKey[Subject]()


def pytest_configure(config: pytest.Config) -> None:
    """Find the driver, where one is named: that there is none is no matter of a test."""
    if not (name := config.getoption("netapply_driver")):
        return
    try:
        needed = json.loads(config.getoption("netapply_manifest"))
    except ValueError as failure:
        raise pytest.UsageError(f"--netapply-manifest is no JSON: {failure}") from failure
    if not isinstance(needed, dict):
        raise pytest.UsageError("--netapply-manifest is no JSON object")
    if not sources(name):
        raise pytest.UsageError(f"there is no driver {name}; there are {', '.join(available())}")
    config.stash[_SUBJECT] = Subject(name, needed)


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    """The driver that is tried."""
    if _SUBJECT not in pytestconfig.stash:
        pytest.fail("say which driver: --netapply-driver NAME", pytrace=False)
    return pytestconfig.stash[_SUBJECT]


@pytest.fixture(scope="session")
def examples(request: pytest.FixtureRequest, subject: Subject) -> int:
    """How many manifests each check is tried with."""
    wanted: int | None = request.config.getoption("netapply_examples")
    return wanted or (FEW if sources(subject.name)[0].kind == "executable" else EXAMPLES)
