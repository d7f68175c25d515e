"""Several adapters of one backbone side by side: each analysed on the same clips and baselines, then their numbers in one table, figure and page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..errors import LorascopeError
from ..experiment.config import AnalysisConfig
from ..models.adapters.opening import open_adapted
from ..store.folder import write_text
from ..store.results import Results
from ..work.sources import analyze, default_context, open_backbone

TABLE = "side_by_side.csv"
COLUMNS = ["adapter", "layer", "measure", "quantity", "module", "value", "low", "high", "synthetic"]

#: (measure, quantity, table, rows, value, columns of its interval) of every number that is compared.
NUMBERS: tuple[tuple[str, str, str, dict[str, str], str, tuple[str, str]], ...] = (
    *(
        (
            "contribution",
            f"{component} {value}, trained − frozen",
            "contribution",
            {"model": "difference", "variant": "corrected", "frames": "valid", "component": component},
            value,
            (f"{value}_low", f"{value}_high"),
        )
        for component in ("attn", "mlp", "block")
        for value in ("ratio", "cosine")
    ),
    *(
        ("lens", quantity, "lens", {"model": "trained", "variant": "corrected"}, quantity, (f"{quantity}_low", f"{quantity}_high"))
        for quantity in ("kl", "overlap", "uar")
    ),
    *(
        (
            "spectra",
            f"k90 of {factor} activations",
            "spectra_summary",
            {"model": "trained", "variant": "corrected", "factor": factor, "quantity": "activation"},
            "k90",
            ("k90_low", "k90_high"),
        )
        for factor in "AB"
    ),
    (
        "cka",
        "A and B, activations",
        "cka",
        {"pair": "A~B:trained", "variant": "corrected", "kernel": "linear", "quantity": "activation"},
        "value",
        ("ci_low", "ci_high"),
    ),
    (
        "erasure",
        "change in UAR, one block skipped",
        "erasure",
        {"model": "trained", "mode": "single"},
        "delta_uar",
        ("delta_uar_low", "delta_uar_high"),
    ),
)  # fmt: skip


def analyze_several(
    backbone: str,
    adapters: Sequence[str | Path],
    out: str | Path,
    corpus: str,
    root: str | Path | None = None,
    frozen: str | Path | None = None,
    clip_ids: Sequence[str] | None = None,
    context: str | None = None,
    labels: Sequence[str] | None = None,
    config: AnalysisConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Results]:
    """Analyse several adapters of one backbone and compare them; arguments as for `analyze`.

    Each adapter's whole result lies in `out/<name>`, named after its folder; `out` also holds side_by_side.csv (adapter, layer, measure, quantity, module, value,
    low, high), figures/side_by_side.{pdf,svg,png} and index.html. All have the same clips, context and, where their factors have the same shapes, the same random
    baselines. Raises `LorascopeError` for bad input before anything is written: also where the adapters have different classes or contexts. Adapters of different
    backbones cannot be compared here.
    """
    from ..report.comparison import write_page

    folder = Path(out)
    names = name_each(adapters)
    # what a killed run left lies in the adapters' own folders, each of which is looked into before it is used
    others = folder.is_dir() and any(p.name not in names and p.suffix != ".partial" for p in folder.iterdir())
    if folder.is_file() or (others and not (folder / TABLE).is_file()):
        raise LorascopeError(f"--out {out}: is not empty and holds no adapters side by side; give a new folder")
    context = _common(backbone, names, labels, context)
    results: dict[str, Results] = {}
    for number, (name, adapter) in enumerate(names.items(), 1):
        say(f"[{number}/{len(names)}] adapter {name}")
        results[name] = analyze(
            backbone, adapter, folder / name, corpus, root, frozen, clip_ids, context, labels, config, say
        )
        clip_ids = results[name].manifest["analysis"]["clip_ids"]
    table = side_by_side(results)
    write_text(folder / TABLE, table.to_csv(index=False, lineterminator="\n"))
    page = write_page(folder, {name: result.manifest for name, result in results.items()}, table)
    say(f"side by side: {page}")
    return results


def name_each(adapters: Sequence[str | Path]) -> dict[str, str | Path]:
    """A name for each adapter: the last part of its path, made longer by the folders above, and then by a number, where several have the same."""
    parts = [Path(adapter).parts for adapter in adapters]
    names: dict[str, str | Path] = {}
    for adapter, own in zip(adapters, parts, strict=True):
        depth = next(
            (depth for depth in range(1, len(own) + 1) if sum(other[-depth:] == own[-depth:] for other in parts) == 1),
            len(own),
        )
        name = base = "-".join(part.strip("/\\:") for part in own[-depth:]).strip("-.") or "adapter"
        number = 2
        while name in names or name == "figures":
            name, number = f"{base}-{number}", number + 1
        names[name] = adapter
    return names


def side_by_side(results: Mapping[str, Results]) -> pd.DataFrame:
    """Every compared number of several analyses with its 95 % interval, one row each; what an adapter doesn't have has no row."""
    rows = []
    for name, result in results.items():
        for measure, quantity, stem, where, value, (low, high) in NUMBERS:
            if stem not in result.names:
                continue
            table = result[stem]
            table = table[(table[list(where)] == pd.Series(where)).all(axis=1)]
            part = pd.DataFrame(
                {
                    "adapter": name,
                    "layer": table["layer"],
                    "measure": measure,
                    "quantity": quantity,
                    "module": table.get("module", ""),
                    "value": table[value],
                    "low": table[low],
                    "high": table[high],
                    "synthetic": bool(result.manifest["corpus"]["synthetic"]),
                }
            )
            rows.append(part)
    return pd.concat(rows, ignore_index=True)[COLUMNS]


def _common(backbone: str, names: Mapping[str, str | Path], labels: Sequence[str] | None, context: str | None) -> str:
    """The context of all adapters, `context` where it is given; every one is opened once, so that bad input is told before anything is written."""
    contexts: dict[str, str] = {}
    classes: dict[str, frozenset[str]] = {}
    for name, adapter in names.items():
        opened = open_backbone(backbone, adapter, labels)
        open_adapted(opened.base, opened.source)
        contexts[name] = context or default_context(opened, backbone)
        classes[name] = frozenset(opened.classes)
    (first, common), *others = contexts.items()
    for name, other in others:
        if other != common:
            raise LorascopeError(
                f"adapter {name}: its context is {other}, that of {first} is {common}; name one for all with --context"
            )
        if classes[name] != classes[first]:
            raise LorascopeError(
                f"adapter {name}: its classes are {', '.join(sorted(classes[name]))}, those of {first} are {', '.join(sorted(classes[first]))}; "
                "only adapters of the same classes can stand side by side"
            )
    return common
