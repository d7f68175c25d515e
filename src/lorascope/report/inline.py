"""What makes the page one file: figures as inline SVG, tables as data: links, the plotting library as a compressed
blob.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from .figures.style import GRID, INK, MUTED

#: Up to this size a table is embedded as CSV, up to the next as gzipped CSV; beyond, the page names the file instead.
#: Bytes.
PLAIN_LIMIT, PACKED_LIMIT = 200_000, 400_000

#: A longer table is past the limits in any case and is not tried.
MOST_ROWS = 50_000

#: The drawing's own colours, handed over to the page, which knows whether the reader sits in the dark.
_THEME = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)"}


def svg(file: Path, label: str) -> Markup:
    """A figure's SVG ready to stand in the page: no prolog, ids of its own, colours that follow the theme, `label` for
    screen readers.
    """
    text = file.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # A style sheet inside one drawing would reach the whole page.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"\W", "-", file.stem)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    for colour, themed in _THEME.items():
        text = text.replace(colour, themed)
    width = re.search(r'width="([\d.]+)pt"', text)
    # A third larger than on paper: letters of 8 pt are small on a screen.
    pixels = round(float(width.group(1)) * 16 / 9) if width else 900
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    label_attribute = Markup('role="img" aria-label="{}" style="max-width:{}px"').format(label, pixels)
    return Markup(text.replace("<svg", f"<svg {label_attribute}", 1))


def download(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """A table as a data: link: `name` of the file, `rows`, and `href`, which is None where it would be too large."""
    if len(table) > MOST_ROWS:
        return {"name": f"{name}.csv", "rows": len(table), "href": None}
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    if len(text) <= PLAIN_LIMIT:
        return {"name": f"{name}.csv", "rows": len(table), "href": _data_uri("text/csv", text)}
    packed = gzip.compress(text, mtime=0)
    if len(packed) <= PACKED_LIMIT:
        return {"name": f"{name}.csv.gz", "rows": len(table), "href": _data_uri("application/gzip", packed)}
    return {"name": f"{name}.csv", "rows": len(table), "href": None}


def packed(content: Any) -> Markup:
    """JSON, gzipped and in base64, for a script element that the page unpacks when it is needed."""
    return Markup(_packed(json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)))


def plotting_library() -> str:
    """plotly.js, gzipped and in base64: 1.9 MB instead of 4.8; the page unpacks it in the browser."""
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
