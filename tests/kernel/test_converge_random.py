"""The main job, for random manifests in the kernel: as tests/unit/test_converge_random.py, with fewer examples."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from reconciler import engine
from reconciler.host import ahead
from reconciler.host.linux import LinuxHost
from reconciler.manifest.model import Manifest
from reconciler.plan import Plan
from reconciler.resources import ROUTE_PROTOCOL, State
from tests.canaries import state
from tests.strategies import Document, manifest, pairs, pinned, unprotected
from tests.strategies.overlays import write_keys

from ..machine import Machine
from .test_conformance import make_foreign

FORCE = engine.Options(force=True)
NewHost = Callable[[], AbstractContextManager[Machine]]
a_dozen = settings(max_examples=12)


@contextmanager
def fresh(new_host: NewHost) -> Iterator[tuple[LinuxHost, int]]:
    """A new isolated host, with others' things in it, and the number of a process in the namespace "theirs".

    A second process looks into half of the sandboxes, as it does where there are many.
    """
    with new_host() as machine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "_pays", lambda number: True)
        make_foreign()
        write_keys()
        process = machine.start(["sh", "-c", "echo there; exec sleep 120"], netns="theirs")
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        machines = Path("/run/systemd/machines")
        machines.mkdir(parents=True)
        (machines / "theirs").write_text(f"CLASS=container\nLEADER={process.pid}\n")
        host = LinuxHost()
        yield host, process.pid
        host.close()


def go(host: LinuxHost, wanted: Manifest, present: Manifest | None = None) -> None:
    """Converge from the manifest that is `present`. Where protection forbids that, lift it first, as its words say."""
    refusals = engine.plan(wanted, host, FORCE).refusals
    if present and refusals:
        assert all("is protected" in reason for reason in refusals)
        apply(unprotected(present), host)
    apply(wanted, host)


def apply(wanted: Manifest, host: LinuxHost) -> Plan:
    """Converge, and demand that what was announced is what was done, and that no more is to do."""
    announced = engine.plan(wanted, host, FORCE).plan
    assert engine.converge(wanted, host, FORCE).plan == announced
    effects: list[str] = []
    again = LinuxHost(trap=effects.append)
    assert not engine.converge(wanted, again, FORCE).plan
    assert effects == []
    again.close()
    return announced


def canaries() -> Mapping[str, Any]:
    """Return others' links and addresses, and the routes over them, on the host and in the namespace "theirs".

    Of those in tests/canaries.py it is all that `ip` says.
    """
    seen: dict[str, Any] = {}
    for place in ([], ["-n", "theirs"]):
        links = [one for one in _json(*place, "addr") if one["group"] == "default"]
        others = {one["ifname"] for one in links if one["ifname"].startswith(("lo", "eth", "far", "canary", "port"))}
        for link in links:
            if link["ifname"] in others:
                addresses = {one["local"] for one in link["addr_info"] if one["scope"] != "link"}
                kept = [link.get(key) for key in ("mtu", "address", "master", "ifalias")]
                seen[f"{place} {link['ifname']}"] = (*kept, "UP" in link["flags"], addresses)
        routes = (one for one in _json(*place, "route") if one.get("dev") in others)
        # those of an overlay's direct routing are netapply's own, though by a link of others
        seen[f"{place} routes"] = [one for one in routes if one.get("protocol") != str(ROUTE_PROTOCOL)]
    return {**seen, **state()}


def _json(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", "-d", *words], check=True, capture_output=True, text=True, timeout=10)
    return list(json.loads(done.stdout or "[]"))


def essence(host: LinuxHost, wanted: Manifest) -> State:
    """Return what a manifest means on the host as it is, without the guard, which is never undone."""
    desired = engine.plan(wanted, host, FORCE).desired
    return {key: one for key, one in desired.items() if key.name != "inet netapply"}


@a_dozen
@given(pair=pairs())
def test_it_converges_says_what_it_does_and_leaves_the_others_alone(
    pair: tuple[Document, Document], new_host: NewHost
) -> None:
    with fresh(new_host) as (host, process):
        around = canaries()
        first, second = (manifest(document, process) for document in pair)
        present = None
        for wanted in (first, second, first):
            go(host, wanted, present)
            assert canaries() == around
            present = wanted
        apply(unprotected(first), host)
        engine.destroy("shop", host)
        assert canaries() == around
        assert [link["ifname"] for link in _json("link") if "netapply" in link.get("ifalias", "")] == []
        assert sorted(one["name"] for one in _json("netns")) == ["theirs"]


@pytest.mark.thorough
@a_dozen
@given(pair=pairs())
def test_what_was_chosen_and_written_down_comes_back_after_any_other_manifest(
    pair: tuple[Document, Document], new_host: NewHost
) -> None:
    with fresh(new_host) as (host, process):
        document, elsewhere = manifest(pair[0], process), manifest(pair[1], process)
        go(host, document)
        there = manifest(pinned(pair[0], engine.plan(document, host, FORCE).topology), process)
        assert not apply(there, host)
        first = essence(host, there)
        go(host, elsewhere, there)
        go(host, there, elsewhere)
        assert essence(host, there) == first
