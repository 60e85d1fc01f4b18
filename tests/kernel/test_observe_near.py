"""Looking at a few containers shows of them what looking at everything does."""

from __future__ import annotations

from pathlib import Path

from reconciler import engine
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.placement import placed
from reconciler.resources import within
from tests.machine import Machine

from .many_changes import AFTER, BEFORE, make_foreign
from .test_rollback import OPTIONS


def test_a_near_look_and_a_whole_one_agree_on_each_container(host: Machine, tmp_path: Path) -> None:
    make_foreign()
    for text in (BEFORE, AFTER):
        path = tmp_path / "shop.yaml"
        path.write_text(text)
        manifest = placed(load([str(path)]), LinuxHost(), OPTIONS.here)
        engine.converge(manifest, LinuxHost(), OPTIONS)
        scope = engine.scope_of(manifest)
        whole = LinuxHost().observe(scope).state
        for names in [[name] for name in scope.sandboxes] + [list(scope.sandboxes)]:
            near = LinuxHost().observe_near(scope, names)
            assert near == within(whole, names)
            assert near


def test_a_lost_end_and_a_lost_address_show_in_a_near_look(host: Machine, tmp_path: Path) -> None:
    make_foreign()
    path = tmp_path / "shop.yaml"
    path.write_text(BEFORE)
    manifest = load([str(path)])
    engine.converge(manifest, LinuxHost(), OPTIONS)
    scope = engine.scope_of(manifest)
    host.run("ip link delete eth0", netns="web")
    host.run("ip address flush dev eth0", netns="db")
    whole = LinuxHost().observe(scope).state
    assert LinuxHost().observe_near(scope, ["web", "db"]) == within(whole, ["web", "db"])
    assert not [key for key in whole if key.name.startswith(("web/front", "db/back 10."))]
