"""What plugins keep when something fails or a run is killed, at every single step: as before, or healed by the next."""

from __future__ import annotations

import errno
import json
import os
import warnings
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest.model import Manifest
from reconciler.plan import Create, Delete

from ..machine import Machine
from . import cni_lab
from .docker_plugin import Plugin, plugin
from .many_changes import changes, snapshot
from .test_killed import kill, run_in_a_child
from .test_rollback import FAILURES, OPTIONS, Counting, applied, raising

pytestmark = pytest.mark.root

LAB = {"type": "lab"}
POOLS = {"config": [{"subnet": "10.50.0.0/24"}]}


def document(listed: list[Any], colour: str, containers: dict[str, list[str]]) -> str:
    opts = {"conflist": {"plugins": listed}, "bin_dirs": [str(cni_lab.BIN)]}
    back = {"driver": "docker-plugin", "driver_opts": {"plugin": "lab", "opts": {"colour": colour}}, "ipam": POOLS}
    return json.dumps(
        {
            "project": "shop",
            "networks": {"front": {"driver": "cni", "driver_opts": opts}, "back": back},
            "containers": {
                name: {"networks": {one: {"interface_name": one} for one in networks}}
                for name, networks in containers.items()
            },
        }
    )


BEFORE = document([LAB, {"type": "meta"}], "red", {"web": ["front", "back"], "gone": ["back"]})
AFTER = document([{**LAB, "mtu": 1400}], "blue", {"web": ["front"], "new": ["back"]})


@pytest.fixture
def lab(host: Machine) -> Iterator[Plugin]:
    """An isolated host with both kinds of plugins; what they make is the same whenever it is made again."""
    cni_lab.install()
    host.sysctl("net.ipv6.conf.default.disable_ipv6", "1")
    with plugin() as running:
        yield running
        running.violations = [one for one in running.violations if "did not come back" not in one]


@pytest.fixture
def manifests(lab: Plugin) -> tuple[Manifest, Manifest]:
    """The host as BEFORE says; BEFORE and AFTER."""
    return applied(BEFORE, AFTER)


def everything(lab: Plugin) -> dict[str, Any]:
    """Return what there is on the host and by the plugins' own accounts, but for numbers that need not last."""
    found = json.loads(json.dumps(snapshot(()), default=str))
    records = [json.loads(path.read_text()) for path in Path("/run/netapply").glob("plugins-*/*/*.json")]
    return {
        "kernel": found,
        "leases": cni_lab.leases(),
        "networks": sorted(lab.networks.values(), key=lambda one: str(one["NetworkID"])),
        "endpoints": sorted(lab.endpoints),
        "joined": sorted(lab.joined),
        "records": sorted((one["path"], one["request"], one["made"]) for one in records),
    }


def number_of_operations(manifests: tuple[Manifest, Manifest]) -> int:
    trap = Counting(None, lambda: None)
    engine.converge(manifests[1], LinuxHost(trap=trap), OPTIONS)
    engine.converge(manifests[0], LinuxHost(), OPTIONS)
    return trap.seen


def test_the_plan_makes_replaces_and_removes_what_both_kinds_of_plugins_keep(
    manifests: tuple[Manifest, Manifest],
) -> None:
    plan = engine.plan(manifests[1], LinuxHost(), OPTIONS).plan
    done = {
        (type(one).__name__, one.key.name)
        for one in plan.changes
        if isinstance(one, Create | Delete) and one.key.kind == "delegated"
    }
    assert {("Delete", "back"), ("Create", "back"), ("Create", "new/back"), ("Delete", "gone/back")} <= done
    assert [one.key.name for one in plan.changes if isinstance(one, Delete)][-1] == "gone"  # the namespace, last of all


@pytest.mark.thorough
def test_a_failure_at_any_operation_leaves_the_host_as_it_was(
    lab: Plugin, manifests: tuple[Manifest, Manifest]
) -> None:
    total, as_before = number_of_operations(manifests), everything(lab)
    assert total >= 40
    for at, failure in zip(range(total), cycle(FAILURES), strict=False):
        with pytest.raises(ApplyFailed):
            engine.converge(manifests[1], LinuxHost(trap=Counting(at, raising(failure))), OPTIONS)
        found = [*changes(as_before, everything(lab))]
        assert not found, f"operation {at} failed with {errno.errorcode[failure]}"


@pytest.mark.thorough
def test_killed_at_any_operation_the_next_run_converges(lab: Plugin, manifests: tuple[Manifest, Manifest]) -> None:
    before, after = manifests
    total = number_of_operations(manifests)
    engine.converge(after, LinuxHost(), OPTIONS)
    as_after = everything(lab)
    for at in range(0, total, 1 if os.environ.get("THOROUGH") else 2):
        engine.converge(before, LinuxHost(), OPTIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the plugin's thread is not needed in the child
            status = run_in_a_child(after, Counting(at, kill))
        assert os.WIFSIGNALED(status), f"operation {at} of {total} was not reached"
        engine.converge(after, LinuxHost(), OPTIONS)
        assert not engine.plan(after, LinuxHost(), OPTIONS).plan
        assert left_behind(lab) == set()
        found = [*changes(as_after, everything(lab))]
        assert not found, f"killed at operation {at}"


def left_behind(lab: Plugin) -> set[str]:
    links = {path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(("li", "lo"))} - {"lo"}
    return links - {name for one in lab.endpoints.values() for name in (one["outer"], one["inner"])}
