"""Imports go one way, effects live at the edge, and what takes long to load is not loaded for nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import reconciler

ROOT = Path(reconciler.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

RESOURCES = {name for name in MODULES if name.startswith("resources.")}
FIREWALL = {name for name in MODULES if name.startswith("firewall.")}

EFFECTS = {"pyroute2", "subprocess", "socket", "ctypes", "fcntl", "select"}
"""Modules by which a program acts on its machine."""

SEES = {
    "errors": set(),
    "naming": set(),
    "resources": RESOURCES,
    **{name: RESOURCES | {"resources"} for name in sorted(RESOURCES)},
    "networks": {"resources"},
    "plan": {"resources"},
    "lowering.addressing": {"networks", "resources"},
    **{name: FIREWALL | {"errors", "naming", "networks", "resources"} for name in ("firewall", *sorted(FIREWALL))},
    "manifest.model": {"errors", "networks", "resources"},
    "host": {"errors", "networks", "plan", "resources"},
    "allocation.ipam": {"naming"},
    "safety": {"contested", "errors", "host", "allocation.parents", "plan", "resources", "lowering.uplinks"},
    "guests": {"host", "plan", "resources"},
    "ours": {"resources"},
    "contested": {"firewall.ports", "host", "networks", "plan", "resources"},
    "lowering.uplinks": {"host", "plan", "resources"},
    "lowering.outside": {"manifest.model", "networks", "resources"},
    "lowering.vlans": {"manifest.model", "networks", "lowering.outside", "resources"},
}
"""What the modules of the core see, and no more."""

DRIVERS_SEE = {
    *("lowering.addressing", "drivers", "errors", "firewall", "manifest.model", "naming", "networks", "resources"),
    *("lowering.bridging", "lowering.encryption", "lowering.outside", "lowering.shares", "lowering.vlans"),
    "lowering.uppers",
}
FRONT = {
    *("__main__", "api", "cli", "commands", "diagnosis", "exits", "keys", "options", "output", "pin", "report"),
    *("shortcut", "__init__"),
}
"""What talks to users; nothing that works for it knows it."""


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """Yield what a module imports, wherever in it, for types only too: names, and whether they are of ours."""
    yield from _named(module, ast.walk(ast.parse(MODULES[module].read_text())))


def at_once(module: str) -> Iterator[str]:
    """Yield the modules of ours that a module imports as soon as it is imported itself."""
    yield from (name for name, internal in _named(module, ast.parse(MODULES[module].read_text()).body) if internal)


def _named(module: str, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, bool]]:
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((name.name, False) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module), False
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            base = ".".join([*parts[: len(parts) - node.level + 1], *(node.module or "").split(".")]).strip(".")
            for name in node.names:
                inner = f"{base}.{name.name}".strip(".")
                yield (inner if inner in MODULES else base), True


def ours(module: str) -> set[str]:
    """Return the modules of ours that a module sees, but for `values`: dataclasses are for everybody."""
    return {name for name, internal in imports(module) if internal} - {"values"}


def test_imports_are_found_in_the_source() -> None:
    assert ("reconciler" in sys.modules, MODULES["engine"].name) == (True, "engine.py")
    assert {"plan", "resources", "safety", "manifest.model"} <= ours("engine")
    assert ("pyroute2", False) not in set(imports("engine"))


@pytest.mark.parametrize("module", SEES)
def test_a_module_of_the_core_sees_only_what_it_stands_on(module: str) -> None:
    assert ours(module) <= SEES[module]


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("drivers.")])
def test_a_driver_sees_manifests_networks_and_resources_only(module: str) -> None:
    assert ours(module) <= DRIVERS_SEE


def test_the_registry_of_drivers_sees_those_of_others_too_once_one_is_asked_for() -> None:
    assert ours("drivers") <= DRIVERS_SEE | {"plugins"}
    assert "plugins" not in set(at_once("drivers"))


def test_only_one_module_knows_that_drivers_can_be_executables_of_the_host() -> None:
    """It asks and takes answers; that this is done by a process, and what that may, is the host's part."""
    outside = [name for name in MODULES if not name.startswith("host.")]
    assert {name for name in outside if "host.executables" in ours(name)} == {"plugins", "plugins.executables"}


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith(("host.", "sandboxes"))])
def test_only_hosts_and_sandboxes_act_on_the_machine(module: str) -> None:
    assert not {name.partition(".")[0] for name, _ in imports(module)} & EFFECTS


@pytest.mark.parametrize("module", [name for name in MODULES if name and name.partition(".")[0] not in FRONT])
def test_nothing_that_works_knows_who_asks(module: str) -> None:
    assert not {name.partition(".")[0] for name in ours(module)} & FRONT


@pytest.mark.parametrize("module", ["engine", "allocation.allocate", "lowering.lower", "plan"])
def test_the_engine_knows_hosts_by_their_contract_only(module: str) -> None:
    assert {name for name in ours(module) if name.startswith(("host", "sandboxes"))} <= {"host"}


def test_imports_make_no_circle() -> None:
    waiting = {name: set(at_once(name)) - {name} for name in MODULES}
    while ready := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in ready:
            del waiting[name]
    assert waiting == {}


def loaded_by(script: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after the script."""
    ending = "\nimport sys\nprint()\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script + ending], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT.parent
    )
    return set(done.stdout.splitlines()[-1].split())


MANIFEST = "project: shop\nnetworks: {front: }\ncontainers: {web: {networks: [front]}}\n"


def test_the_way_of_a_plan_loads_neither_pyroute2_nor_jsonschema(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST)
    loaded = loaded_by(
        "import reconciler.engine, reconciler.host.linux, reconciler.report.text, reconciler.cli\n"
        f"reconciler.cli.run(['validate', {str(path)!r}])"
    )
    assert "reconciler.manifest.loading" in loaded
    assert not loaded & {"pyroute2", "jsonschema", "asyncio", "importlib.metadata", "reconciler.plugins"}
    assert not loaded & {"http.client", "reconciler.sandboxes.docker"}, "no container is Docker's"


def test_the_version_is_told_before_anything_is_loaded() -> None:
    loaded = loaded_by(
        "import sys\nsys.argv = ['netapply', '--version']\nimport reconciler.__main__\nreconciler.__main__.main()"
    )
    assert not loaded & {"typer", "yaml", "reconciler.engine", "reconciler.cli", "dataclasses"}


def test_a_package_named_reconciler_loads_little_until_it_is_asked() -> None:
    assert not loaded_by("import reconciler") & {"yaml", "typer", "reconciler.engine"}
