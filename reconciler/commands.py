"""The two commands that machines run again and again, `apply` and `plan`: what they do and print, and their exit codes.

They know nothing of how they were called: `reconciler.cli` parses every command line, `reconciler.shortcut` the usual
ones, as the parser takes a fifth of a small run to import. What takes time to import is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .exits import DIFFERENCES, OK, REFUSED
from .output import Page, page_of

if TYPE_CHECKING:
    from .engine import Progress, Proposal, Report
    from .host import Host
    from .manifest.model import Manifest


def host_factory() -> Host:
    """Return the host to act on; tests put another in its place."""
    from .api import this_host

    return this_host()


class Wanted(NamedTuple):
    """What `apply` or `plan` is told; docs/cli.md says what each means. `lock_timeout` is in seconds."""

    files: tuple[str, ...]
    check: bool = False
    prune: bool = True
    force: bool = False
    strict: bool = False
    here: str | None = None
    detailed_exitcode: bool = False
    json: bool = False
    verbose: bool = False
    quiet: bool = False
    no_color: bool = False
    lock_timeout: float = 10.0

    @property
    def page(self) -> Page:
        return page_of(self.json, verbose=self.verbose, quiet=self.quiet, no_color=self.no_color)


def apply(wanted: Wanted) -> int:
    """Make the host what the manifest says, or leave it as it was."""
    if wanted.check:
        return plan(wanted)
    from . import api
    from .engine import Options

    page, manifest = wanted.page, api.load(*wanted.files)
    options = Options(wanted.prune, wanted.force, wanted.strict, wanted.lock_timeout, wanted.here)
    return carry_out(page, lambda progress: api.apply(manifest, host_factory(), options, progress), manifest)


def plan(wanted: Wanted) -> int:
    """Show what applying the manifest would do. Changes nothing and waits for nobody."""
    from . import api
    from .engine import Options

    page, manifest = wanted.page, api.load(*wanted.files)
    options = Options(wanted.prune, wanted.force, wanted.strict, here=wanted.here)
    proposal = api.plan(manifest, host_factory(), options)
    return tell(page, proposal, manifest, wanted.detailed_exitcode, checked=wanted.check)


def tell(
    page: Page, proposal: Proposal, manifest: Manifest | None, detailed_exitcode: bool, checked: bool = False
) -> int:
    """Tell a plan that is not carried out and return the exit code."""
    from .report.content import proposed

    content = proposed(proposal, manifest)
    page.tell(content, checked)
    if content.refusals:
        return REFUSED
    return DIFFERENCES if content.plan and detailed_exitcode else OK


def carry_out(page: Page, act: Callable[[Progress | None], Report], manifest: Manifest | None) -> int:
    """Act, tell what was done and return the exit code."""
    from .report.content import done

    report = page.follow(act)
    with suppress(KeyboardInterrupt):  # it is done; that nobody wants to read of it changes nothing
        page.tell(done(report, manifest))
    return OK
