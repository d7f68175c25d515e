"""Make adapters smaller: how much is kept is chosen on validation speakers, what it costs is measured on the test
speakers, by the folder that was written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.analyse import open_adapter
from ..analysis.answers import Answers
from ..analysis.measure import Study
from ..analysis.measures.rank_dial import SHARES
from ..errors import LorascopeError
from ..machine.devices import device
from ..models.adapters.opening import Adapted, open_adapted, read_source
from ..models.adapters.pruning import Keep, Updates, updates_of, write_pruned
from ..models.adapters.rewriting import refuse_filled
from ..models.families.known import parts_of
from ..models.interventions import intervened
from ..statistics.aggregation import aggregate
from ..statistics.sufficiency import as_good, least
from ..store.files import write_text
from ..store.units import clear
from ..training.passes import predict_clips
from .prunable import Prunable
from .sources import Say

METRICS = ("uar", "loss", "delta_uar", "delta_loss", "flipped")
#: What is told of the mean over folds.
MEANS = ("whole_uar", "uar", "delta_uar", "directions", "parameters")
TABLE, DIAL, OVER_FOLDS = "pruned.csv", "validation.csv", "over_folds.csv"


@dataclass(frozen=True)
class Pruned:
    """What was kept of adapters, and what it costs.

    `table` has a row an adapter: method, label, fold, seed, folder; share or first (what was kept), directions, of,
    energy (share of Σσ²), parameters and whole_parameters (of the factors), left_out (blocks without any); on the test
    speakers whole_uar, uar, delta_uar, loss, delta_loss, flipped with 95 % intervals, interval_of, clips, speakers; and
    a note. `validation` is the rank dial on the validation speakers, a row a share: directions, uar, delta_uar with its
    interval, as_good. `over_folds` has, of each method with several folds, means with intervals over folds.
    """

    out: Path
    table: pd.DataFrame
    validation: pd.DataFrame
    over_folds: pd.DataFrame

    @property
    def lines(self) -> list[str]:
        """A sentence for each adapter, and for each mean over folds."""
        rows = [_line(row) + (f" ({row['note']})" if row["note"] else "") for row in _rows(self.table)]
        means = [
            f"{row['label']}, mean of {row['uar_folds']} folds: UAR {_interval(row, 'uar')} (whole "
            f"{row['whole_uar']:.3f}), change {_interval(row, 'delta_uar', '+.3f')} over folds"
            for row in _rows(self.over_folds)
        ]
        return [*rows, *means]


def prune(adapters: Iterable[Prunable], keep: Keep, out: Path, say: Say) -> Pruned:
    """Write every adapter smaller, below `out`, with the tables of what was chosen and what it costs.

    Nothing is left at `out` unless all went well. Raises `LorascopeError` for bad input.
    """
    refuse_filled(out)
    partial = out.with_name(f"{out.name}.partial")
    rows: list[dict[str, Any]] = []
    dials: list[pd.DataFrame] = []
    clear(partial)
    try:
        for adapter in adapters:
            row, dial = _prune_one(adapter, keep, partial / adapter.folder, say)
            rows.append(row)
            dials += [] if dial is None else [dial.assign(**adapter.names)]
        table = pd.DataFrame(rows)
        found = Pruned(out, table, pd.concat(dials, ignore_index=True) if dials else pd.DataFrame(), _means(table))
        for name, part in ((TABLE, table), (DIAL, found.validation), (OVER_FOLDS, found.over_folds)):
            if len(part):
                write_text(partial / name, part.to_csv(index=False, lineterminator="\n"))
        if out.is_dir():
            out.rmdir()
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


def _prune_one(adapter: Prunable, keep: Keep, out: Path, say: Say) -> tuple[dict[str, Any], pd.DataFrame | None]:
    adapted = _opened(adapter)
    updates = updates_of(adapted, adapter.what)
    updates.check(keep, adapter.what)
    chosen, dial = keep, None
    if keep.auto:
        chosen, dial = _choose(adapter, adapted, updates, say)
    masks = updates.chosen(chosen)
    row = {**adapter.names, "folder": adapter.folder} | _kept(updates, masks, chosen)
    whole = _predict(adapted, adapter, adapter.test) if adapter.test else None
    write_pruned(adapter.source, adapted, updates, masks, out, [kept_words(row)])
    del adapted
    lines = [] if dial is None else [_chosen_words(adapter, dial, chosen)]
    if whole is not None:
        small = _opened(adapter, out)
        row |= _tested(adapter, whole, _predict(small, adapter, adapter.test))
        lines.append(f"Tested on {_people(adapter, adapter.test)}{_measured(row)}.")
    notes = [note for note in (adapter.note, "" if dial is None else _at_chance(adapter, dial)) if note]
    row["note"] = "; ".join(notes)
    lines += notes
    with (out / "README.md").open("a", encoding="utf-8") as card:
        card.write("".join(f"- {line}\n" for line in lines))
    say(_line(row))
    for note in notes:
        say(f"note: {note}")
    return row, dial


def _opened(adapter: Prunable, folder: Path | None = None) -> Adapted:
    """The adapter, or what became of it, on its backbone, where there are clips proved on one of them."""
    backbone, source = adapter.load(), adapter.source if folder is None else read_source(folder)
    if not adapter.test:
        return open_adapted(backbone, source)
    first = adapter.clips[adapter.test[0]].features
    return open_adapter(backbone, source, first, adapter.context, device())


def _predict(adapted: Adapted, adapter: Prunable, ids: Sequence[str]) -> np.ndarray:
    return predict_clips(adapted.model, ids, adapter.clips, adapter.context, adapter.batch_size)


def _answers(adapter: Prunable, ids: Sequence[str], what: str) -> Answers:
    clips = pd.DataFrame(
        {
            "clip": list(ids),
            "speaker": [adapter.speakers[clip] for clip in ids],
            "label": [adapter.labels[clip] for clip in ids],
        }
    )
    return Answers(Study(clips, adapter.classes, ("trained",), 0, 0, (), {}), what)


def _choose(adapter: Prunable, adapted: Adapted, updates: Updates, say: Say) -> tuple[Keep, pd.DataFrame]:
    """The least share that the rank dial finds on the validation speakers, and the dial there."""
    parts, ids = parts_of(adapted.model), adapter.validation
    answers = _answers(adapter, ids, "the rank dial")
    say(f"{adapter.what}: the rank dial on {len(ids)} clips of {_people(adapter, ids)}")
    counts = {}
    for share in SHARES:
        masks = updates.chosen(Keep(share=share))
        with intervened(parts, updates.dialled(masks)):
            answers.give(share, _predict(adapted, adapter, ids))
        counts[share] = sum(int(mask.sum()) for mask in masks.values())
    rows = [
        {"share": share, "directions": counts[share], "of": updates.directions}
        | answers.row(answers.answer(share, SHARES[0]), METRICS, METRICS)
        for share in SHARES
    ]
    dial = pd.DataFrame(rows)
    smallest = least(dial, "share")
    if smallest is None:
        raise LorascopeError(
            f"--keep auto: {adapter.what}: the change of UAR has no interval on the {len(ids)} "
            f"clip{'' if len(ids) == 1 else 's'} of {_people(adapter, ids)}; choose on more of them, or give a share "
            "or a number"
        )
    return Keep(share=float(smallest["share"])), dial.assign(as_good=as_good(dial))


def _kept(updates: Updates, masks: dict[Any, np.ndarray], keep: Keep) -> dict[str, Any]:
    kept = {key: int(mask.sum()) for key, mask in masks.items()}
    sides = {key: len(found.left) + found.right.shape[1] for key, found in updates.found.items()}
    layers = sorted({layer for layer, _ in kept})
    left_out = [layer for layer in layers if not any(count for (at, _), count in kept.items() if at == layer)]
    return {
        "share": keep.share,
        "first": keep.first,
        "directions": sum(kept.values()),
        "of": updates.directions,
        "energy": updates.energy(masks),
        "parameters": sum(kept[key] * sides[key] for key in kept),
        "whole_parameters": sum(updates.nominal[key] * sides[key] for key in kept),
        "left_out": ", ".join(map(str, left_out)),
    }


def _tested(adapter: Prunable, whole: np.ndarray, small: np.ndarray) -> dict[str, Any]:
    """What the folder that was written answers to the test clips, beside the whole adapter."""
    answers = _answers(adapter, adapter.test, "the pruned adapter")
    answers.give("whole", whole)
    answers.give("pruned", small)
    before = answers.row(answers.answer("whole", "whole"), ("uar",), ("uar",))
    sizes = {"tested_on": len(adapter.test), "trained_on": adapter.trained_on}
    return (
        {f"whole_{name}": value for name, value in before.items() if name.startswith("uar")}
        | answers.row(answers.answer("pruned", "whole"), METRICS, METRICS)
        | {"speakers": len({adapter.speakers[clip] for clip in adapter.test}), **sizes}
    )


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the folds of each method that has several."""
    if "fold" not in table or "uar" not in table or table["fold"].nunique() < 2:
        return pd.DataFrame()
    sizes = table.drop_duplicates("fold")[["tested_on", "trained_on"]].astype(float).mean()
    ratio = float(sizes["tested_on"] / sizes["trained_on"])
    return aggregate(table, ["method", "label"], list(MEANS), test_over_train=ratio)


# In words ------------------------------------------------------------------------------------------------------------


def kept_words(row: dict[str, Any]) -> str:
    """What is kept of an adapter."""
    if not row["directions"]:
        return f"none of {row['of']} directions kept: what is good here is the head"
    share, count = (None if pd.isna(row[name]) else row[name] for name in ("share", "first"))
    keep = Keep(share, None if count is None else int(count))
    blocks = f", nothing in block{'s' if ',' in row['left_out'] else ''} {row['left_out']}" if row["left_out"] else ""
    return (
        f"{row['directions']} of {row['of']} directions kept ({keep.words}; {row['energy']:.1%} of Σσ²), "
        f"{row['parameters']} of {row['whole_parameters']} parameters in its factors{blocks}"
    )


def _line(row: dict[str, Any]) -> str:
    return f"{_named(row)}{kept_words(row)}{_measured(row)}"


def _measured(row: dict[str, Any]) -> str:
    if pd.isna(row.get("uar", np.nan)):
        return ""
    return (
        f": UAR {_interval(row, 'uar')} (whole {_interval(row, 'whole_uar')}), change "
        f"{_interval(row, 'delta_uar', '+.3f')}, {row['clips']} clips"
    )


def _chosen_words(adapter: Prunable, dial: pd.DataFrame, chosen: Keep) -> str:
    (row,) = _rows(dial[dial["share"] == chosen.share])
    return (
        f"The share was chosen on {_people(adapter, adapter.validation)}, {row['clips']} clips, as the least that is "
        f"as good there: change of UAR {_interval(row, 'delta_uar', '+.3f')}"
    )


def _at_chance(adapter: Prunable, dial: pd.DataFrame) -> str:
    """Of an answer that is none, every part is as good as all."""
    (whole,) = _rows(dial[dial["share"] == SHARES[0]])
    chance = 1 / len(adapter.classes)
    if whole["uar_low"] > chance:
        return ""
    return (
        f"On the validation speakers the whole adapter is not clearly better than chance ({chance:.3f}): UAR "
        f"{_interval(whole, 'uar')}, so that any share is as good"
    )


def _named(row: dict[str, Any]) -> str:
    return f"{row['label']}, fold {row['fold']}, seed {row['seed']}: " if "fold" in row else ""


def _people(adapter: Prunable, ids: Sequence[str]) -> str:
    names = sorted({adapter.speakers[clip] for clip in ids})
    return f"speaker{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _interval(row: dict[str, Any], name: str, form: str = ".3f") -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    ends = "no interval" if pd.isna(low) else f"{low:{form}}, {high:{form}}"
    return f"{row[name]:{form}} [{ends}]".replace("-", "−")


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(map(str, table.columns), row, strict=True)) for row in table.itertuples(index=False, name=None)]
