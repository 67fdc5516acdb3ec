"""`pawl eval report` and `pawl eval compare`; `evals.cli` registers both.

What they need is imported when they run, so that `pawl eval --help` costs nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import date

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the page there.")]
AsJson = Annotated[bool, typer.Option("--json", help="All figures as JSON on stdout, in place of tables.")]
Scorer = Annotated[
    str, typer.Option("--scorer", metavar="NAME", help="Whose scores count, where several graded the run.")
]
Cutoff = Annotated[
    str, typer.Option("--cutoff", metavar="DATE", help="The model's: tasks until then and after it, apart.")
]


def report(
    run: RunFolder,
    html: HtmlFile = None,
    as_json: AsJson = False,
    scorer: Scorer = "",
    cutoff: Cutoff = "",
    fail_under: Annotated[
        float | None,
        typer.Option(
            "--fail-under", metavar="PERCENT", min=0, max=100, help="Exit 3 when fewer are resolved."
        ),
    ] = None,
) -> None:
    """Say what a run came to; its folder gets report.json and report.html.

    A run that is not finished is reported as far as it has come, and says so.
    """
    from evals.reading import read_run
    from evals.report_html import render_report
    from evals.summary import encode, summarize

    read = read_run(run, scorer)
    summary = summarize(read, _date(cutoff))
    data = encode(summary)
    page = render_report(read, summary).encode()
    _write(run / "report.json", data, required=False)
    _write(html or run / "report.html", page, required=html is not None)
    if as_json:
        sys.stdout.buffer.write(data)
    else:
        from rich.console import Console

        from evals.report_text import show_report

        show_report(Console(), summary)
    if fail_under is not None and (summary.resolved is None or 100 * summary.resolved.value < fail_under):
        raise typer.Exit(3)


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of the run before.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of the run that may be better.")],
    html: HtmlFile = None,
    as_json: AsJson = False,
    scorer: Scorer = "",
) -> None:
    """Say whether B is better than A on the tasks that both have, and how sure that is."""
    import msgspec

    from evals.comparison import compare as compare_summaries
    from evals.reading import read_run
    from evals.summary import summarize

    found = compare_summaries(*(summarize(read_run(folder, scorer)) for folder in (first, second)))
    if html is not None:
        from evals.report_html import render_comparison

        _write(html, render_comparison(found).encode(), required=True)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        return
    from rich.console import Console

    from evals.report_text import show_comparison

    show_comparison(Console(), found)


def _date(text: str) -> date | None:
    from agent.config import ConfigError
    from evals.contamination import parse_date

    found = parse_date(text) if text else None
    if text and found is None:
        raise ConfigError(f"--cutoff {text!r} is no date; it goes like 2026-03-31")
    return found


def _write(path: Path, data: bytes, *, required: bool) -> None:
    """Whole or not at all. A run's folder that cannot be written is no reason to show nothing."""
    from evals.store import StoreError

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        message = f"cannot write {path}: {error.strerror or error}"
        if required:
            raise StoreError(message) from error
        print(f"pawl: {message}", file=sys.stderr)
