"""The terminal: one console, to which text is text."""

from __future__ import annotations

from typing import Any


def console(**settings: Any) -> Any:
    """A rich console on which nothing that comes from data or the user is markup: names and paths may
    hold brackets and colons.
    """
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, **settings)
