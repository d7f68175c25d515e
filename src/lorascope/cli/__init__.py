"""The command line: verbs that call the Python API of the same names, a file for each kind. No logic of its own, and
no torch until a verb needs it.
"""

from __future__ import annotations

from .app import app
from .entry import main

__all__ = ["app", "main"]
