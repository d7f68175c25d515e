"""A run's results in Python: read (`store`), drawn and shown (`report`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..store.results import Results as Stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Results(Stored):
    """The results in a run folder: `results["lens"]` is a table of the analyses, `results.table1` is Table 1,
    `results.plot("lens")` a figure.

    Whatever is read was checked before against its seal. Raises `LorascopeError` where the folder holds no run, and, at
    the reading, where a file is not as it was sealed.
    """

    def plot(
        self,
        name: str,
        variant: str | None = None,
        ax: Axes | Sequence[Axes] | None = None,
        panel: int | None = None,
    ) -> Figure:
        """Draw a figure by what it shows (`contribution`, `lens`, `rank_space`, `spectra`, `dial`, ...) or by its stem
        (`fig2a`, `fig2b-released`); returns the matplotlib figure.

        With a `variant` that one alone is drawn. `ax` are axes to draw on: as many as the figure has panels, or one,
        for the panel of number `panel` (from 0, row by row), which gets a legend of its own. What the folder's
        marks say (synthetic, optimistic) goes below a whole figure, and into the title of a given axis. Raises
        `LorascopeError` for an unknown name, naming those that there are, for what was not measured, and for a file
        that is not as it was sealed.
        """
        from ..report.plotting import plot

        return plot(self.folder.root, name, variant, ax, panel)

    def _repr_html_(self) -> str:
        """Table 1, what was found first, and what there is to read and to draw, for Jupyter."""
        from ..report.plotting import shown

        return shown(self.folder.root, self.names)
