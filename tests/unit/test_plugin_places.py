"""Where plugins are found, and which of them are not trusted. The files are the caller's own here, not root's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.errors import HostLacks
from reconciler.host.delegates import programs, records, sockets, trust


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which all places are where plugins of Docker's are looked for."""
    for name in ("run", "etc", "lib"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sockets, "SOCKETS", str(tmp_path / "run"))
    monkeypatch.setattr(sockets, "SPECS", (str(tmp_path / "etc"), str(tmp_path / "lib")))
    return tmp_path


def put(path: Path, text: str = "") -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_socket_goes_before_files_that_name_one(home: Path) -> None:
    elsewhere = put(home / "elsewhere.sock")
    put(home / "lib" / "lab.json", json.dumps({"Name": "lab", "Addr": f"unix://{elsewhere}"}))
    assert sockets.found("lab") == elsewhere
    other = put(home / "other.sock")
    put(home / "etc" / "lab" / "lab.spec", f"unix://{other}\n")
    assert sockets.found("lab") == other
    inner = put(home / "run" / "lab" / "lab.sock")
    assert sockets.found("lab") == inner
    assert sockets.found("lab") == inner
    assert sockets.found("lab") != put(home / "run" / "lab.sock") == sockets.found("lab")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lab.spec", "tcp://192.0.2.1:80", "netapply speaks to unix sockets alone; have the plugin listen on one"),
        ("lab.json", '{"Addr": "https://h"}', "netapply speaks to unix sockets alone"),
        ("lab.json", "{", "says no address"),
        ("lab.json", "{}", "says no address"),
        ("lab.json", "[]", "says no address"),
        ("lab.spec", "unix:///no/such.sock", "/no/such.sock"),
    ],
)
def test_a_file_that_names_no_socket_of_this_host_is_refused(home: Path, name: str, text: str, said: str) -> None:
    put(home / "etc" / name, text)
    with pytest.raises(HostLacks, match=said.replace(".", r"\.")):
        sockets.found("lab")


def test_a_program_is_taken_from_the_first_folder_that_has_it(tmp_path: Path) -> None:
    put(tmp_path / "b" / "bridge")
    folders = [str(tmp_path / name) for name in ("a", "b", "c")]
    assert programs.found("bridge", folders) == str(tmp_path / "b" / "bridge")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bridge").mkdir()
    assert programs.found("bridge", folders) == str(tmp_path / "b" / "bridge")
    with pytest.raises(HostLacks, match=r"there is no CNI plugin vlan in .*; install it"):
        programs.found("vlan", folders)


def test_what_others_can_write_to_is_not_trusted_wherever_a_link_leads(tmp_path: Path) -> None:
    path = Path(put(tmp_path / "real" / "plugin"))
    link = tmp_path / "bin"
    link.symlink_to(path.parent)
    trust.demand(str(link / "plugin"), "it")
    path.parent.chmod(0o777)
    with pytest.raises(HostLacks, match=r"others than root can write to .*real; chmod go-w .*real"):
        trust.demand(str(link / "plugin"), "it")
    path.parent.chmod(0o1777)  # a sticky folder keeps what is in it from being renamed, not from being added to
    with pytest.raises(HostLacks, match="others than root"):
        trust.demand(str(path), "it")
    path.parent.chmod(0o755)
    path.chmod(0o775)
    with pytest.raises(HostLacks, match=r"others than root can write to .*bin/plugin"):
        trust.demand(str(link / "plugin"), "it")
    with pytest.raises(HostLacks, match="see whether it is there"):
        trust.demand(str(tmp_path / "nothing"), "it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    path = put(tmp_path / "plugin")
    os.chown(path, 1000, 0)
    with pytest.raises(HostLacks, match="belongs to the user 1000, who could change what root runs; chown root"):
        trust.demand(path, "it")


RECORD = records.Record("web/front", "cni", "web", "{}", "eth0", ("front",), ("timeout=7", "protect"), 42)


def test_records_are_kept_and_forgotten_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.host.delegates.DIRECTORY", str(tmp_path))
    monkeypatch.setattr(records, "DIRECTORY", str(tmp_path))
    network = RECORD._replace(path="front", sandbox="", cookie=0, result={"a": [1]}, addresses=("10.0.0.1/24",))
    long = RECORD._replace(path=f"{'c' * 128}/{'n' * 128}")
    for one in (RECORD, network, long):
        records.save(1, "shop", one)
    records.save(2, "shop", RECORD)
    assert records.load_all(1, "shop") == [network, long, RECORD]
    assert records.load(1, "shop", "web/front") == RECORD
    assert records.load(1, "shop", "db/front") is None
    assert records.load_all(1, "other") == []
    assert [one.path for one in records.of_all_hosts("shop")].count("web/front") == 2
    assert (RECORD.timeout, RECORD.tag("nothing", "x")) == (7.0, "x")
    assert (tmp_path / "plugins-1").stat().st_mode & 0o077 in (0, 0o055)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*/*/*")} == {0o600}
    for one in (RECORD, network, long):
        records.forget(1, "shop", one.path)
    assert [path.name for path in tmp_path.iterdir()] == ["plugins-2"]


def test_a_record_that_cant_be_read_is_named_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.host.delegates.DIRECTORY", str(tmp_path))
    records.save(1, "shop", RECORD)
    (path,) = tmp_path.glob("*/*/*")
    for text in ("", "{", "[]", "{}", '{"path": "x"}'):
        path.write_text(text)
        with pytest.raises(HostLacks, match=r"can't be read as a record .*; remove it"):
            records.load_all(1, "shop")
