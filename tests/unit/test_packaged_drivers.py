"""Drivers of other Python packages: what is wrong with one is told as its author's, and names the package."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from reconciler import drivers
from reconciler.drivers import Driver
from reconciler.errors import DriverError, HostLacks
from reconciler.manifest.model import EndpointSpec, NetworkSpec
from reconciler.networks import Endpoint, Network, Subnet
from reconciler.plugins import Source, sources
from reconciler.resources import Link
from tests.drivers import executable, package

SOUND = '''
"""sound: does nothing wrong."""
from reconciler.drivers import Complaint, Traits
from reconciler.resources import HOST, Link

SUMMARY = "nothing wrong"
TRAITS = Traits()
OPTIONS = {"size": {"type": "integer", "minimum": 1}}

def check(network, endpoints):
    yield Complaint(("mtu",), "too odd", "make it even")

def lower(network):
    yield Link(network.name, "bridge", HOST, "br0")
'''

FIRST = "from reconciler.drivers"
WEB = Endpoint("web", "front", "eth0", "02:00:00:00:00:01", ("10.20.0.10/24",))
FRONT = Network("shop", "front", "mine", 1500, subnets=(Subnet("10.20.0.0/24", "10.20.0.1"),), endpoints=(WEB,))


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def found(site: Path, text: str) -> Driver:
    package(site, "mine", text)
    driver = drivers.find("mine")
    assert driver is not None
    return driver


def ask(site: Path, text: str) -> None:
    driver = found(site, text)
    list(driver.check(NetworkSpec("front"), [EndpointSpec("web", "front")]))
    list(driver.lower(FRONT))


def fault(site: Path, text: str) -> str:
    """Return what is wrong with a driver, less how each line begins."""
    with pytest.raises(DriverError) as wrong:
        ask(site, text)
    start = "driver mine (package netapply-mine 1.0)"
    lines = str(wrong.value).splitlines()
    assert all(line.startswith(start) for line in lines)
    return "\n".join(line.removeprefix(start).lstrip(": ") for line in lines)


def test_a_driver_comes_from_another_package(site: Path) -> None:
    driver = found(site, SOUND)
    assert (driver.SUMMARY, driver.OPTIONS) == ("nothing wrong", {"size": {"type": "integer", "minimum": 1}})
    assert "mine" in drivers.available()
    assert sources("mine") == (Source("package", "netapply-mine 1.0"),)
    assert [tuple(one)[:3] for one in driver.check(NetworkSpec("front"), [])] == [(("mtu",), "too odd", "make it even")]
    assert list(driver.lower(FRONT)) == [Link("front", "bridge", "", "br0")]


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        (FIRST, f"import nowhere_at_all\n{FIRST}", "netapply_mine can't be loaded: ModuleNotFoundError: No module"),
        (FIRST, f"raise SystemExit(3)\n{FIRST}", "netapply_mine can't be loaded: SystemExit: 3"),
        (FIRST, f"def (:\n{FIRST}", "netapply_mine can't be loaded: SyntaxError: "),
        ("TRAITS =", "NOTHING =", "lacks TRAITS; docs/drivers.md has the contract"),
        ("def lower", "def raise_", "lacks lower; docs/drivers.md has the contract"),
        ('SUMMARY = "nothing wrong"', "SUMMARY = 7", "SUMMARY is 7; make it one line of text"),
        ('"nothing wrong"', '"two\\nlines"', "SUMMARY is 'two\\nlines'; make it one line of text"),
        ("TRAITS = Traits()", "TRAITS = {}", "TRAITS is {}; make it a reconciler.drivers.Traits"),
        ("OPTIONS = {", "OPTIONS = [], {", "OPTIONS is ([], {"),
        ('{"type": "integer", "minimum": 1}', '"integer"', "OPTIONS['size'] is 'integer'; make it a JSON Schema"),
        ('"integer"', '"intger"', "OPTIONS['size'] is no JSON Schema: 'intger' is not valid"),
        ('"minimum": 1', '"minimum": "one"', "OPTIONS['size'] is no JSON Schema: 'one' is not of type 'number'"),
        ('"minimum": 1', '"pattern": "("', "OPTIONS['size'] is no JSON Schema: "),
        ("def check(network, endpoints):", "check = 7\ndef other():", "check is 7; make it a function"),
        ("    yield Complaint", "    1 / 0\n    yield Complaint", "failed at check of network front: ZeroDiv"),
        ('yield Complaint(("mtu",)', 'yield (("mtu",)', "check of network front yields (('mtu',), 'too odd', "),
        ('Complaint(("mtu",)', 'Complaint(["mtu"]', "make its path a tuple of keys"),
        ("    yield Link", "    {}['mtu']\n    yield Link", "failed at lower of network front: KeyError: 'mtu'"),
        ("def lower(network)", "def lower()", "failed at lower of network front: TypeError: "),
        ('yield Link(network.name, "bridge", HOST, "br0")', "return None", "failed at lower of network front: Type"),
        ("yield Link(network.name", "yield (network.name", "at lower of network front: it yields ('front', 'bridge',"),
        ('HOST, "br0")', 'HOST, "br0", mtu="1500")', "lower of network front yields what is no resource: "),
        ('Link(network.name, "bridge", HOST, "br0")', "network", "it yields Network(project='shop'"),
        ('Link(network.name, "bridge"', 'Link("back", "bridge"', "link back: its path is not the network's"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_with_a_driver_is_its_authors_to_mend(site: Path, was: str, becomes: str, said: str) -> None:
    assert was in SOUND
    assert said in fault(site, SOUND.replace(was, becomes, 1))


def test_all_that_is_wrong_with_what_a_driver_says_of_itself_is_told_at_once(site: Path) -> None:
    said = fault(site, SOUND.replace('"nothing wrong"', "7").replace("Traits()", "None"))
    assert [line.partition(" ")[0] for line in said.splitlines()] == ["SUMMARY", "TRAITS"]


def test_traits_that_fail_are_the_drivers_fault(site: Path) -> None:
    driver = found(site, SOUND.replace("Traits()", "Traits(has_gateway=lambda options, family: options['none'])"))
    with pytest.raises(DriverError, match=r"driver mine .*failed at has_gateway: KeyError: 'none'"):
        driver.TRAITS.has_gateway({}, 4)


def test_two_packages_with_a_driver_of_one_name_are_one_too_many(site: Path) -> None:
    package(site, "mine", SOUND)
    package(site, "other", SOUND, version="2.0", driver="mine")
    both = "netapply-mine 1.0 and netapply-other 2.0|netapply-other 2.0 and netapply-mine 1.0"
    with pytest.raises(DriverError, match=f"several drivers mine, of the packages ({both}); uninstall one of them"):
        drivers.find("mine")


def test_one_package_on_two_ways_is_one(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = tmp_path / "again"
    again.mkdir()
    for folder in (site, again):
        package(folder, "mine", SOUND)
    monkeypatch.syspath_prepend(str(again))
    assert drivers.find("mine") is not None


def test_no_package_takes_the_place_of_a_driver_that_comes_with_netapply(site: Path) -> None:
    package(site, "mine", SOUND, driver="bridge")
    driver = drivers.find("bridge")
    assert isinstance(driver, ModuleType)
    assert [source.kind for source in sources("bridge")] == ["built-in", "package"]


def test_no_executable_takes_the_place_of_another_driver(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not even run, as this one shows: to run it is an error."""
    monkeypatch.setenv("NETAPPLY_DRIVER_PATH", str(site))
    package(site, "mine", SOUND)
    for name in ("mine", "bridge", "hub"):
        executable(site, name, "#!/bin/false\n", mode=0o666)
        drivers.find(name) if name != "hub" else None
    assert [source.kind for source in sources("mine")] == ["package", "executable"]
    assert [source.kind for source in sources("bridge")] == ["built-in", "executable"]
    assert {"mine", "bridge", "hub"} <= set(drivers.available())
    with pytest.raises(HostLacks, match=r"driver hub .* is not run: others than its owner can write to"):
        drivers.find("hub")
