"""The templates of the report's pages, and what they may call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """A page of a template's name, in full; a value that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("lorascope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short
    return environment.get_template(template).render(**values)


def short(backbone: str) -> str:
    """A backbone's name as a heading has it: the last part of a folder's path, else as it is.

    >>> short("/data/models/my-whisper"), short("openai/whisper-base")
    ('my-whisper', 'openai/whisper-base')
    """
    # no hub id begins so
    a_folder = Path(backbone).is_absolute() or backbone.startswith((".", "~"))
    return Path(backbone).name if a_folder else backbone
