"""The driver that docs/drivers.md shows is complete: installed as a package would be, it works."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler
from reconciler import drivers
from reconciler.errors import ManifestError
from reconciler.host.fake import FakeHost
from reconciler.manifest import load
from reconciler.resources import Link, Route

PAGE = Path(__file__).parents[2] / "docs" / "drivers.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)

MANIFEST = """
project: lab
networks: {drawer: {driver: segment, driver_opts: {stp: true}, ipam: {config: [{subnet: 10.9.0.0/24}]}}}
containers: {one: {networks: [drawer]}, two: {networks: [drawer]}}
"""


def test_the_package_among_the_examples_is_the_driver_of_the_page() -> None:
    folder = PAGE.parents[1] / "manifests/python-driver"
    assert (folder / "netapply_segment.py").read_text() == next(text for name, text in BLOCKS if name == "python")
    entry_point = next(text for name, text in BLOCKS if name == "toml")
    assert entry_point in (folder / "pyproject.toml").read_text()


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the page's driver by the page's entry point."""
    code = next(text for language, text in BLOCKS if language == "python")
    entry_point = next(text for language, text in BLOCKS if language == "toml").splitlines()[1].replace('"', "")
    (tmp_path / "netapply_segment.py").write_text(code)
    about = tmp_path / "netapply_segment-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: netapply-segment\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{drivers.ENTRY_POINTS}]\n{entry_point}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("netapply_segment", None)


def manifest(tmp_path: Path, text: str = MANIFEST) -> reconciler.Manifest:
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    return load([str(path)])


def test_the_driver_is_found_by_its_entry_point() -> None:
    assert "segment" in drivers.available()
    driver = drivers.find("segment")
    assert driver is not None
    assert "nobody else" in driver.SUMMARY


def test_the_driver_makes_a_network_and_the_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    host = FakeHost()
    report = reconciler.apply(manifest(tmp_path), host)
    made = [change.after for change in report.plan.changes if isinstance(change, reconciler.Create)]
    links = {link.path: link for link in made if isinstance(link, Link)}
    assert sorted(links) == ["drawer", "one/drawer", "two/drawer"]
    assert links["drawer"].options == {"stp_state": True}
    assert not any(isinstance(one, Route) for one in made), "a segment has no way out"
    assert not reconciler.plan(manifest(tmp_path), host).plan


def test_its_options_are_checked_as_those_of_any_driver(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"lab.yaml:3:.*stq.*did you mean stp"):
        manifest(tmp_path, MANIFEST.replace("stp:", "stq:"))


def test_its_own_check_speaks_with_a_position(tmp_path: Path) -> None:
    text = MANIFEST.replace("driver: segment,", "driver: segment, allow: [other],").replace("}}}", "}}, other: {}}", 1)
    with pytest.raises(ManifestError, match=r"lab.yaml:3:\d+: error: nothing is routed on a segment"):
        manifest(tmp_path, text)


def test_the_driver_is_about_thirty_lines() -> None:
    code = next(text for language, text in BLOCKS if language == "python")
    statements = code[code.index("SUMMARY") :]
    assert len([line for line in statements.splitlines() if line.strip()]) <= 30
