"""Table 1 (how well each method does on unseen speakers) and the paired comparison, computed from the cells' files.

This module computes; `tables` writes. METHODS section 1 defines the numbers: UAR is the mean of the classes' recalls,
WAR the share of clips recognised, mean and standard deviation (ddof = 0) run over folds, and the pooled values take the
test clips of all folds as one set, with a 95 % interval that speaks of speakers (`intervals.LeftOut`). Where everything
was trained with several seeds, a fold's value is the mean over its seeds, and the pooled set holds the answers of all
of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import LorascopeError
from ..statistics import stats
from ..statistics.intervals import SPEAKERS, LeftOut
from ..store.finished import FinishedCell, FinishedRun

#: Columns of `summarise`, one row a (backbone, label).
TABLE1_COLUMNS = (
    "backbone",
    "label",
    "method",
    "rank",
    "trainable_parameters",
    "folds",
    "seeds",
    "clips",
    "speakers",
    "uar_mean",
    "uar_std",
    "war_mean",
    "war_std",
    "pooled_uar",
    "pooled_uar_low",
    "pooled_uar_high",
    "pooled_war",
    "pooled_war_low",
    "pooled_war_high",
    "chance",
    "optimistic",
    "synthetic",
)

#: Columns of `compare`, one row a (backbone, pair of labels, metric).
COMPARISON_COLUMNS = (
    "backbone",
    "label",
    "reference",
    "metric",
    "folds",
    "difference",
    "wilcoxon_p",
    "t",
    "p",
    "low",
    "high",
    "speakers",
    "pooled_difference",
    "pooled_low",
    "pooled_high",
    "main",
    "optimistic",
    "synthetic",
)

#: What a cell chooses on its selection clips, by its name in metrics.json.
CHOICES = {"learning_rate": "learning rate", "best_epoch": "best epoch", "depth": "depth", "C": "C"}

#: Methods that leave the encoder as it is: what the others are held against.
UNADAPTED = ("frozen", "classic")

Key = tuple[str, str]


def summarise(run: Path) -> pd.DataFrame:
    """Table 1: one row a (backbone, label), with the columns of `TABLE1_COLUMNS`.

    `uar_std` and `war_std` are NaN for a single fold, the intervals are NaN with fewer than three test speakers (that
    of the UAR also where only one has clips of some class): there is no spread to estimate. `chance` is the UAR of
    guessing, 1 / classes. `optimistic` gives the reasons, empty where there is none. The table is empty where the run
    trained no cell. Raises `LorascopeError` where two cells claim the same label and fold.
    """
    folder = FinishedRun(run)
    rows = []
    for (backbone, label), cells in _groups(folder).items():
        first = cells[0].metrics
        pooled = _pooled(folder, cells)
        uars, wars = (_by_fold([(cell, cell.metrics[key]) for cell in cells]) for key in ("uar", "war"))
        reasons = dict.fromkeys(reason for cell in cells for reason in cell.metrics["optimistic"])
        row = {key: first[key] for key in ("method", "rank", "trainable_parameters")}
        row |= {"backbone": backbone, "label": label, "folds": len(uars)}
        row |= {"seeds": pooled["seed"].nunique(), "clips": len(pooled.drop_duplicates(["fold", "clip"]))}
        row |= {"speakers": pooled["speaker"].nunique()}
        row |= {"uar_mean": uars.mean(), "uar_std": _spread(uars), "war_mean": wars.mean(), "war_std": _spread(wars)}
        row |= pooled_scores(pooled, first["classes"])
        row |= {"chance": 1 / len(first["classes"]), "optimistic": "; ".join(reasons), "synthetic": folder.synthetic}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(TABLE1_COLUMNS)).astype({"rank": "Int64"})


def confusion(run: Path) -> pd.DataFrame:
    """Pooled confusion of every row of Table 1: backbone, label, emotion, predicted, clips, share (of the emotion's
    clips).
    """
    folder = FinishedRun(run)
    parts = []
    for (backbone, label), cells in _groups(folder).items():
        classes = cells[0].metrics["classes"]
        pooled = _pooled(folder, cells)
        counts = pd.crosstab(pooled["emotion"], pooled["predicted"])
        counts = counts.reindex(index=classes, columns=classes, fill_value=0).rename_axis(index="emotion")
        tidy = counts.reset_index().melt(id_vars="emotion", var_name="predicted", value_name="clips")
        tidy["share"] = tidy["clips"] / tidy.groupby("emotion")["clips"].transform("sum")
        parts.append(tidy.assign(backbone=backbone, label=label))
    columns = ["backbone", "label", "emotion", "predicted", "clips", "share"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def per_fold(run: Path) -> pd.DataFrame:
    """One row a cell, those of the rank space included: who was tested, what was chosen on whom, and the scores."""
    rows, all_cells = [], FinishedRun(run).cells
    several = len({_seed(cell) for cell in all_cells}) > 1
    for cell in all_cells:
        metrics, chosen = cell.metrics, cell.metrics["chosen"]
        rows.append(
            {key: metrics[key] for key in ("backbone", "label", "fold")}
            | ({"seed": metrics["seed"]} if several else {})
            | {"role": cell.role}
            | {"test speakers": ", ".join(metrics["test_speakers"])}
            | {"validation speakers": ", ".join(metrics["validation_speakers"])}
            | {f"{part} clips": metrics["clips"][part] for part in ("train", "validation", "test")}
            | {words: chosen.get(key) for key, words in CHOICES.items()}
            | {"validation UAR": metrics["validation"]["uar"], "UAR": metrics["uar"], "WAR": metrics["war"]}
            | {"optimistic": "; ".join(metrics["optimistic"]), "seconds": metrics["seconds"]}
        )
    table = pd.DataFrame(rows)
    return table.drop(columns=[words for words in CHOICES.values() if words in table and table[words].isna().all()])


def pooled_scores(pooled: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    """UAR and WAR of the answers to all folds' test clips, with their intervals where there are three speakers.

    `pooled` has the columns speaker, emotion and predicted, a row a clip.
    """
    gold, predicted = _codes(pooled["emotion"], classes), _codes(pooled["predicted"], classes)
    scores = {
        "pooled_uar": stats.unweighted_average_recall(gold, predicted, len(classes)),
        "pooled_war": float((gold == predicted).mean()),
    }
    left_out = LeftOut(pooled["speaker"].to_numpy(), gold)
    if left_out.of == SPEAKERS:
        uar, war = left_out.of_recall(gold, predicted, len(classes)), left_out.of_accuracy(gold == predicted)
        scores |= dict(zip(("pooled_uar_low", "pooled_uar_high"), uar, strict=True))
        scores |= dict(zip(("pooled_war_low", "pooled_war_high"), war, strict=True))
    return scores


def pooled_differences(mine: pd.DataFrame, theirs: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """By metric, the difference of two methods' answers to the same clips, with its interval where there are three
    speakers.

    Both have the columns of `pooled_scores`, and `fold`, `clip` and, of several, `seed`, by which those that both have
    are paired.
    """
    keys = [key for key in ("fold", "clip", "seed") if key in mine]
    both = mine.merge(theirs[[*keys, "predicted"]], on=keys, suffixes=("", "_reference"), validate="one_to_one")
    gold = _codes(both["emotion"], classes)
    left_out = LeftOut(both["speaker"].to_numpy(), gold)
    weights = np.ones((1, len(gold)))
    if left_out.of == SPEAKERS:
        weights = np.vstack([weights, left_out.weights])
    uar, war = _metrics(gold, _codes(both["predicted"], classes), weights, len(classes)) - _metrics(
        gold, _codes(both["predicted_reference"], classes), weights, len(classes)
    )
    found = {}
    for metric, (value, *without) in (("uar", uar), ("war", war)):
        row = {"speakers": both["speaker"].nunique(), "pooled_difference": float(value)}
        if without:
            row |= dict(zip(("pooled_low", "pooled_high"), left_out.interval(value, np.array(without)), strict=True))
        found[metric] = row
    return found


def _metrics(gold: np.ndarray, predicted: np.ndarray, weights: np.ndarray, n_classes: int) -> np.ndarray:
    """UAR and WAR for every row of `weights` [rows, clips], [2, rows]."""
    war = weights @ (gold == predicted) / weights.sum(axis=1)
    return np.stack([stats.weighted_recall(gold, predicted, weights, n_classes), war])


def _codes(names: pd.Series, classes: Sequence[str]) -> np.ndarray:
    return names.map({name: index for index, name in enumerate(classes)}).to_numpy()


def compare(run: Path) -> pd.DataFrame:
    """Methods of a backbone paired by fold: `difference` = label minus reference, mean over the folds both have.

    Every method that adapts the encoder is held against every baseline (frozen, classic) and every adapted method
    before it, every baseline against the first one. `main` marks the pairs to be told first: those of adapted methods,
    with but one baseline, the one that is strongest on the validation speakers; or those of baselines, where nothing is
    adapted.

    Wilcoxon's signed-rank p and Nadeau and Bengio's corrected resampled t (Machine Learning 52, 2003), whose variance
    is enlarged by test/train clips because the folds share training clips; `low` and `high` are its 95 % interval.
    Statistics are NaN where fewer than two folds are shared or all differences are equal. `pooled_*` is the difference
    on all test clips as one set, with its 95 % interval over `speakers` (NaN with fewer than three): of these trained
    models, on other speakers. Columns: `COMPARISON_COLUMNS`.
    """
    folder = FinishedRun(run)
    groups = _groups(folder)
    rows = []
    for new, old, main in _compared(groups):
        pairs = _shared_folds(groups[new], groups[old])
        if not pairs:
            continue
        train, test = (np.mean([mine.metrics["clips"][part] for mine, _ in pairs]) for part in ("train", "test"))
        reasons = dict.fromkeys(reason for pair in pairs for cell in pair for reason in cell.metrics["optimistic"])
        mine, theirs = (_pooled(folder, [pair[side] for pair in pairs]) for side in (0, 1))
        pooled = pooled_differences(mine, theirs, pairs[0][0].metrics["classes"])
        for metric in ("uar", "war"):
            differences = _by_fold([(one, one.metrics[metric] - other.metrics[metric]) for one, other in pairs])
            row = {"backbone": new[0], "label": new[1], "reference": old[1], "metric": metric}
            row |= {"folds": len(differences)}
            row |= {
                "main": main,
                "difference": differences.mean(),
                "optimistic": "; ".join(reasons),
                "synthetic": folder.synthetic,
            }
            row |= pooled[metric]
            if len(differences) > 1 and np.ptp(differences) > 0:
                row |= {"wilcoxon_p": stats.wilcoxon(differences)[1]}
                row |= stats.corrected_resampled_t(differences, float(train), float(test))._asdict()
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def _compared(groups: Mapping[Key, list[FinishedCell]]) -> Iterator[tuple[Key, Key, bool]]:
    """(method, reference, whether it is a main pair) of every pair that is compared."""
    for backbone in dict.fromkeys(backbone for backbone, _ in groups):
        keys = [key for key in groups if key[0] == backbone]
        baselines = [key for key in keys if groups[key][0].metrics["method"] in UNADAPTED]
        adapted = [key for key in keys if key not in baselines]
        # on the selection clips, never on the test clips; of equals the first
        strongest = max(baselines, key=lambda key: _validation_uar(groups[key]), default=None)
        for number, key in enumerate(adapted):
            yield from ((key, baseline, baseline == strongest) for baseline in baselines)
            yield from ((key, other, True) for other in adapted[:number])
        yield from ((key, baselines[0], not adapted) for key in baselines[1:])


def _validation_uar(cells: list[FinishedCell]) -> float:
    return float(np.mean([cell.metrics["validation"]["uar"] for cell in cells]))


def _groups(folder: FinishedRun) -> dict[Key, list[FinishedCell]]:
    groups: dict[Key, list[FinishedCell]] = {}
    seen: dict[tuple[str, str, str, int], str] = {}
    for cell in folder.table1_cells:
        key = (cell.metrics["backbone"], cell.metrics["label"])
        fold = (*key, cell.metrics["fold"], _seed(cell))
        if fold in seen:
            raise LorascopeError(
                f"{folder.path / 'cells'}: {seen[fold]} and {cell.hash} are both '{key[1]}' on fold {fold[2]}; "
                "give the two methods different labels"
            )
        seen[fold] = cell.hash
        groups.setdefault(key, []).append(cell)
    return groups


def _pooled(folder: FinishedRun, cells: list[FinishedCell]) -> pd.DataFrame:
    parts = [folder.predictions(cell).assign(fold=cell.metrics["fold"], seed=_seed(cell)) for cell in cells]
    return pd.concat(parts, ignore_index=True)


def _spread(scores: np.ndarray) -> float:
    return float(scores.std()) if len(scores) > 1 else float("nan")


def _seed(cell: FinishedCell) -> int:
    # runs of before there were several have none
    return cell.metrics.get("seed", 0)


def _fold(cell: FinishedCell) -> tuple[str, ...]:
    return (cell.metrics["fold"], *cell.metrics["test_speakers"])


def _by_fold(values: Sequence[tuple[FinishedCell, float]]) -> np.ndarray:
    """Each fold's mean over its cells, those of its seeds, [folds]."""
    folds: dict[tuple[str, ...], list[float]] = {}
    for cell, value in values:
        folds.setdefault(_fold(cell), []).append(value)
    return np.array([np.mean(of_fold) for of_fold in folds.values()])


def _shared_folds(mine: list[FinishedCell], theirs: list[FinishedCell]) -> list[tuple[FinishedCell, FinishedCell]]:
    """Pairs of cells of the same fold and the same seed."""
    other = {(_fold(cell), _seed(cell)): cell for cell in theirs}
    return [(cell, other[_fold(cell), _seed(cell)]) for cell in mine if (_fold(cell), _seed(cell)) in other]
