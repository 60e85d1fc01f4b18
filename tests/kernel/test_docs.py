"""What the pages show is what happens: their ```console blocks are run, on a host with an uplink, and compared.

A ```yaml block that begins with `# NAME.yaml` is that file. In a console block a line that begins with `# ` is a
command; `...` in its output stands for whatever is printed there, and it must succeed. `RENEW_GOLDEN=1 pytest
tests/kernel/test_docs.py` writes the outputs anew (those without `...`); read the diff.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import Machine

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/lifecycle.md", "docs/firewall.md", "docs/explain.md", "docs/bandwidth.md", "docs/ports.md")

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
SECONDS = re.compile(r"in \d+\.\d\d s")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_happens(page: str, host: Machine, tmp_path: Path) -> None:
    host.outside()
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    os.chdir(tmp_path)  # the fixture goes back
    host.environ["PYTHONPATH"] = str(ROOT)
    text = (ROOT / page).read_text()
    renewed, end = "", 0
    for block in BLOCK.finditer(text):
        renewed, end = renewed + text[end : block.start("text")], block.end("text")
        if block["language"] == "yaml" and (name := re.match(r"# (\S+\.yaml)\n", block["text"])):
            (tmp_path / name[1]).write_text(block["text"])
        renewed += played(host, page, block["text"]) if block["language"] == "console" else block["text"]
    if os.environ.get("RENEW_GOLDEN"):
        (ROOT / page).write_text(renewed + text[end:])
    assert "```console" in text


def played(host: Machine, page: str, block: str) -> str:
    """Run a console block, compare unless it is to be renewed, and return it with what was printed now."""
    result = ""
    for command, output in steps(block):
        printed, code = run(host, command)
        assert code == 0 or "..." not in output, f"{page}: `{command}` failed\n{printed}"
        same = matches(output, printed)
        assert same or os.environ.get("RENEW_GOLDEN"), (
            f"{page} shows of `{command}`\n{output}and now it prints\n{printed}`make golden` renews it"
        )
        result += f"# {command}\n{output if same or '...' in output else printed}"
    return result


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console block, and what the page says that each prints."""
    for part in re.split(r"^# ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run(host: Machine, command: str) -> tuple[str, int]:
    """Return what a command prints, both streams, less spaces and empty lines at the ends, and its exit code."""
    words = shlex.split(command, comments=True)
    done = host.netapply(*words[1:], code=None) if words[0] == "netapply" else host.run(words, check=False)
    lines = [line.rstrip() for line in (done.stdout + done.stderr).rstrip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines), done.returncode


def matches(expected: str, printed: str) -> bool:
    """Whether the output is as expected; how long something took is not compared."""
    pattern = re.escape(SECONDS.sub("in N s", expected.rstrip("\n"))).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, SECONDS.sub("in N s", printed.rstrip("\n")), re.DOTALL) is not None
