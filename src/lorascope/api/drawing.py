"""What a run found, drawn for a paper."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import LorascopeError
from .telling import Say


def figures(
    run: str | Path,
    out: str | Path,
    style: str = "ieee",
    columns: int = 1,
    formats: Sequence[str] = ("pdf",),
    only: Collection[str] = (),
    variant: str | None = None,
    say: Say = lambda _: None,
) -> list[Path]:
    """Write a run's figures for print, its tables (LaTeX for booktabs, Markdown, CSV) and `captions.md` into `out`;
    return their paths.

    `style` is ieee, acl, nature or slides, `columns` 1 or 2: a figure is as wide as that. `formats` are pdf, svg, png.
    `only` names figures by stem (`fig2a`) or by what they show (`lens`), and `table1`; all by default. With a `variant`
    they show that one alone. Raises `LorascopeError` for bad input.
    """
    from ..report.paper import write_paper

    folder = Path(run)
    if (folder / "sweep").is_dir() and not (folder / "manifest.json").is_file():
        raise LorascopeError(
            f"{run}: is a sweep; give the folder of one of its experiments (its own table is {folder / 'table1.tex'})"
        )
    return write_paper(folder, Path(out), style, columns, formats, only, variant, say)
