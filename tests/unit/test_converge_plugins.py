"""The main job once more, where plugins make some of the networks, or say how."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host import executables
from reconciler.host.fake import FakeHost
from reconciler.plan import Create, Delete
from reconciler.resources import HOST, Delegated
from tests.drivers import code, executable
from tests.strategies import Document, Foreign, manifest, unprotected
from tests.strategies import new_host as bare_host
from tests.strategies.plugins import pairs_with_plugins

from .test_converge_random import FORCE, apply, go, what_is


@pytest.fixture(scope="module", autouse=True)
def segment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The executable driver that docs/drivers/exec.md shows, run in this process: it is asked hundreds of times."""
    folder, text = tmp_path_factory.mktemp("drivers"), code("drivers/exec.md")
    executable(folder, "segment", text)
    program = compile(text, "segment", "exec")

    def run(file: executables.Executable, request: bytes, timeout: float, doing: str) -> bytes:
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(request.decode()))
            patch.setattr(sys, "stdout", said)
            exec(program, {"__name__": "__main__"})
        return said.getvalue().encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executables, "FOLDERS", ())
        patch.setenv(executables.VARIABLE, str(folder))
        patch.setattr(executables, "run", run)
        yield


def new_host() -> FakeHost:
    host = bare_host()
    Foreign(processes=True).make(host)
    return host


@given(pairs_with_plugins())
@settings(max_examples=40)
def test_it_converges_from_any_manifest_to_any_other_and_back(pair: tuple[Document, Document]) -> None:
    first, second = map(manifest, pair)
    host = new_host()
    before = what_is(host)
    apply(first, host)
    go(host, second, first)
    go(host, first, second)
    apply(unprotected(first), host)
    engine.destroy("shop", host)
    assert what_is(host) == before


@given(pairs_with_plugins(), st.integers(0, 60))
@settings(max_examples=40)
def test_whatever_fails_it_goes_back(pair: tuple[Document, Document], at: int) -> None:
    first, second = map(manifest, pair)
    host = new_host()
    apply(first, host)
    if engine.plan(second, host, FORCE).refusals:
        return
    before, seen = what_is(host), 0

    def trap(what: str) -> None:
        nonlocal seen
        seen += 1
        if seen == at + 1:
            raise OSError(errno.EBUSY, what)

    host.trap = trap
    total = len(engine.plan(second, host, FORCE).plan.changes)
    if total <= at:
        return
    with pytest.raises(ApplyFailed):
        engine.converge(second, host, FORCE)
    host.trap = None
    assert what_is(host) == before


@given(pairs_with_plugins(), st.data())
@settings(max_examples=40)
def test_what_a_plugin_says_is_broken_is_made_again_with_what_stands_on_it(
    pair: tuple[Document, Document], data: st.DataObject
) -> None:
    wanted = manifest(pair[0])
    host = new_host()
    apply(wanted, host)
    kept = {one.path: one for one, _ in host.plugins.kept.values()}
    if not kept:
        return
    path = data.draw(st.sampled_from(sorted(kept)))
    host.plugins.broken.add(path)
    proposal = engine.plan(wanted, host, FORCE)
    again = {path, *(other.path for other in kept.values() if path in other.after)}
    assert {change.key.name for change in proposal.plan.changes} == again
    assert {type(change) for change in proposal.plan.changes} == {Create, Delete}
    if not proposal.refusals:
        apply(wanted, host)
        assert not host.plugins.broken


@given(pairs_with_plugins())
@settings(max_examples=25)
def test_endpoints_come_after_their_network_and_go_before_it(pair: tuple[Document, Document]) -> None:
    host = new_host()
    apply(manifest(pair[0]), host)
    plan = engine.plan_destruction("shop", host).plan
    deleted = [one.before for one in plan.changes if isinstance(one, Delete) and isinstance(one.before, Delegated)]
    networks = [number for number, one in enumerate(deleted) if isinstance(one, Delegated) and one.sandbox == HOST]
    assert networks == list(range(len(deleted) - len(networks), len(deleted)))
