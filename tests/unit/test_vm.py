"""The machine that tests on stock kernels run in, as far as it can be tested without one."""

from __future__ import annotations

import lzma
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.features import lacking
from tests.vm import kernel, qemu
from tests.vm.kernel import PINNED, Kernel, elf
from tests.vm.run import END, showable
from tests.vm.suite import executed


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_stream_shows_all_but_its_end_however_it_is_cut(size: int) -> None:
    sent, shown, held = b"one\0two\0\1three\n" + END, b"", b""
    for start in range(0, len(sent), size):
        now, held = showable(held + sent[start : start + size])
        shown += now
    assert (shown, held) == (b"one\0two\0\1three\n", END)


def test_a_command_keeps_its_words_its_folder_and_its_environment(tmp_path: Path) -> None:
    script = qemu.command(
        ["sh", "-c", 'pwd; printf "%s|" "$0" "$ODD"', "it's two words"],
        tmp_path,
        {"ODD": "a 'b' $c\nd", "BASH_FUNC_x%%": "() { :; }", "PATH": os.environ["PATH"]},
    )
    done = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == f"{tmp_path}\nit's two words|a 'b' $c\nd|"
    assert done.stderr == ""


def test_only_named_folders_are_written_to() -> None:
    ready = Kernel("6.1.0-1-amd64", Path("/cache/6.1.0-1-amd64=0"))
    writable = [Path("/nowhere/a,b c")]
    words = qemu.arguments(ready, Path("/job"), [7, 8, 9], cpus=2, memory="1G", kvm=False, writable=writable)
    shares = [word for word in words if word.startswith("local,")]
    assert [share.partition("readonly=")[2] for share in shares] == ["on,path=/", "off,path=/nowhere/a,,b c"]
    assert "rw0 '/root/nowhere/a,b c'" in qemu.mounts(ready, writable)


def test_the_kernel_inside_an_image_is_found_by_its_header() -> None:
    packed = lzma.compress(b"\x7fELF and more")
    image = bytearray(1024) + b"gap" + packed + b"crc"
    image[0x1F1] = 1
    image[0x248:0x250] = (3).to_bytes(4, "little") + len(packed).to_bytes(4, "little")
    assert elf(bytes(image)) == b"\x7fELF and more"


def test_an_image_that_is_packed_otherwise_is_taken_as_it_is() -> None:
    assert elf(bytes(2048)) == bytes(2048)


def test_skipped_tests_do_not_count_as_executed(tmp_path: Path) -> None:
    results = tmp_path / "results.xml"
    assert executed(results) == 0
    results.write_text('<testsuites><testsuite tests="3" failures="1" skipped="2"/></testsuites>')
    assert executed(results) == 1


def test_a_feature_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(KeyError):
        lacking(["teleport"])


class Archive:
    """What `kernel` asks of apt and of its build script, answered from a list of versions; the last one is current."""

    def __init__(self, *versions: str) -> None:
        self.versions = versions
        self.built: list[str] = []

    def run(self, command: Sequence[str], *, folder: Path = Path(), check: bool = True) -> str:
        if command[:2] == ["apt-get", "download"]:
            return "uri" if command[-1].removeprefix("linux-image-") in self.versions else ""
        if command[0] == "apt-cache":
            return f"linux-image-amd64\n  Depends: linux-image-{self.versions[-1]}\n"
        if command[0] == "sh":
            version = command[2]
            if version not in self.versions:
                raise ChildProcessError(f"Unable to locate package linux-image-{version}")
            self.built.append(version)
            (folder / "boot").mkdir()
            (folder / "boot" / f"vmlinuz-{version}").write_bytes(bytes(1024))
        return ""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    new = Archive(*PINNED, "9.9.0-amd64")
    monkeypatch.setattr(kernel, "CACHE", tmp_path)
    monkeypatch.setattr(kernel, "_run", new.run)
    monkeypatch.setattr("shutil.which", lambda program: program)
    return new


def test_a_pinned_kernel_is_built_once(archive: Archive) -> None:
    assert {kernel.prepare().version, kernel.prepare().version} == {PINNED[0]}
    assert archive.built == [PINNED[0]]


def test_a_kernel_that_is_asked_for_is_no_substitute_for_a_pinned_one(archive: Archive) -> None:
    assert kernel.prepare("9.9.0-amd64").version == "9.9.0-amd64"
    assert kernel.prepare().version == PINNED[0]


def test_a_kernel_that_is_asked_for_has_no_substitute(archive: Archive) -> None:
    with pytest.raises(ChildProcessError, match="Unable to locate package"):
        kernel.prepare("0.1")


def test_the_current_kernel_is_taken_if_no_pinned_one_is_left_and_that_is_said_each_time(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.versions = ("9.9.0-amd64",)
    for _ in range(2):
        assert kernel.prepare().version == "9.9.0-amd64"
        assert "taking 9.9.0-amd64" in capsys.readouterr().err
    assert archive.built == ["9.9.0-amd64"]


def test_a_substitute_is_old_after_a_week(archive: Archive) -> None:
    archive.versions = ("9.9.0-amd64",)
    kernel.prepare()
    (link,) = kernel.CACHE.glob("substitute=*")
    os.utime(link, (0, 0), follow_symlinks=False)
    archive.versions = PINNED
    assert kernel.prepare().version == PINNED[0]
