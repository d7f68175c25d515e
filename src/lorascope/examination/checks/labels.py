"""What only labelled clips tell."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import beta, binomtest

from ...statistics.shuffles import shuffled_labels
from ...statistics.stats import unweighted_average_recall
from ..examined import Examined
from ..finding import ALPHA, Found, check
from ..labelled import Labelled

ORDER = 6
DRAWS = 2000
#: Scales of the update at which answers are looked at again.
SCALES = (0.0, 0.25, 0.5, 0.75)
CAUSES = ("keys_unknown", "keys_missing", "base_changed", "never_trained", "no_effect", "exploded", "deaf_to_input",
          "head_missing", "head_adapted", "scale", "label_order", "features")  # fmt: skip


@check(
    "label_order",
    "labels in another order",
    ["labelled"],
    ["head_missing", "head_adapted", "head_classes"],
    mend="--fix puts the classifier's rows in the matched order",
)
def label_order(examined: Examined) -> Iterator[Found]:
    """The order of labels with the most agreement (assignment), if it is far better than the one that is given.

    Two tests, both by Holm: agreement in the best order against labels shuffled within speakers (its own best order
    each time), since an adapter may know speakers, and these the labels; and the clips that the best order wins against
    those that it loses (sign test), times the number of orders. And the classes that the order moves are recognised
    above chance in it: an adapter that answers one class to nearly everything has no order, whatever the rest fits.
    """
    labelled = examined.labelled
    order, p = misordered(labelled)
    if p < ALPHA:
        _, given, matched = best_order(labelled)
        names = [labelled.classes[index] for index in order]
        yield Found(
            f"as the labels are given {given:.3f} of {len(labelled.gold)} answers are right, in another order "
            f"{matched:.3f} (p = {p:.1e}): the logits are {', '.join(names)}",
            {"given": given, "matched": matched, "order": names, "p": p},
        )


def misordered(labelled: Labelled) -> tuple[list[int], float]:
    """The best order of the labels, and the p of there being another than the given one; 1 where there is none, or
    where the classes that it moves are recognised no better than by chance in it (their mean recall is 1 / classes).
    """
    order, _, _ = best_order(labelled)
    table = confusion(labelled.gold, labelled.predicted, len(order))
    moved = [(answer, label) for answer, label in enumerate(order) if answer != label]
    recalls = [table[label, answer] / max(table[label].sum(), 1.0) for answer, label in moved]
    if not moved or np.mean(recalls) <= 1 / len(order):
        return order, 1.0
    return order, max(holm([agreement_p(labelled), order_p(labelled, order)]))


def best_order(labelled: Labelled) -> tuple[list[int], float, float]:
    """For each logit the class that it fits best, so that agreement is largest; accuracy as given and so."""
    table = confusion(labelled.gold, labelled.predicted, len(labelled.classes))
    # ties stay as they are given
    columns, classes = linear_sum_assignment(-(table.T + 1e-6 * np.eye(len(table))))
    order = [int(classes[index]) for index in np.argsort(columns)]
    total = table.sum()
    return order, float(np.trace(table) / total), float(sum(table[c, k] for k, c in enumerate(order)) / total)


def confusion(gold: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Clips by gold label and answer, [classes, classes]."""
    return np.bincount(gold * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(float)


def agreement_p(labelled: Labelled) -> float:
    """p that labels shuffled within speakers agree as well in their own best order."""
    count = len(labelled.classes)
    best = _most(confusion(labelled.gold, labelled.predicted, count))
    shuffled = shuffled_labels(labelled.gold, labelled.speakers, DRAWS, seed=0)
    return (1 + sum(_most(confusion(gold, labelled.predicted, count)) >= best for gold in shuffled)) / (DRAWS + 1)


def _most(table: np.ndarray) -> float:
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum())


def order_p(labelled: Labelled, order: list[int]) -> float:
    """p of the clips that an order wins against the given one, by a sign test, for the best of all orders."""
    right = labelled.predicted == labelled.gold
    matched = np.array(order)[labelled.predicted] == labelled.gold
    wins, losses = int((matched & ~right).sum()), int((right & ~matched).sum())
    p = float(binomtest(wins, wins + losses, alternative="greater").pvalue) if wins + losses else 1.0
    return min(1.0, p * (math.factorial(len(order)) - 1))


def holm(p: list[float]) -> list[float]:
    """Holm's adjusted p values."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


@check(
    "chance",
    "no better than guessing",
    ["labelled"],
    [*CAUSES, "worse_than_off", "context"],
    mend="train it longer; look whether these clips are what it was trained for",
)
def chance(examined: Examined) -> Iterator[Found]:
    """UAR against labels shuffled within speakers."""
    labelled = examined.labelled
    count = len(labelled.classes)
    uar = unweighted_average_recall(labelled.gold, labelled.predicted, count)
    shuffled = shuffled_labels(labelled.gold, labelled.speakers, DRAWS, seed=0)
    least = sum(unweighted_average_recall(gold, labelled.predicted, count) >= uar - 1e-12 for gold in shuffled)
    p = (1 + least) / (DRAWS + 1)
    classes = len(set(labelled.gold.tolist()))
    if p > 0.05:
        told = "" if labelled.names_speakers else " (speakers unknown)"
        yield Found(
            f"UAR {uar:.3f} on {len(labelled.gold)} clips of {classes} classes is no better than guessing "
            f"({1 / classes:.3f}; p = {p:.2f}, labels shuffled within speakers{told})",
            {"uar": uar, "p": p, "clips": len(labelled.gold)},
        )


@check(
    "worse_than_off",
    "better with the adapter scaled down",
    ["off", "labelled"],
    CAUSES,
    mend="train at a lower rate or scale, or use it scaled down",
)
def worse_than_off(examined: Examined) -> Iterator[Found]:
    """The adapter's own head, answers at smaller scales of the update against those at its own (sign test, Holm)."""
    labelled = examined.labelled
    count = len(labelled.classes)
    right = labelled.predicted == labelled.gold
    scores, ps = {1.0: unweighted_average_recall(labelled.gold, labelled.predicted, count)}, []
    scales = [scale for scale in SCALES if scale == 0 or examined.scalable]
    for scale in scales:
        predicted = labelled.scaled(scale).argmax(1)
        scores[scale] = unweighted_average_recall(labelled.gold, predicted, count)
        wins = int(((predicted == labelled.gold) & ~right).sum())
        losses = int((right & (predicted != labelled.gold)).sum())
        ps.append(float(binomtest(wins, wins + losses, alternative="greater").pvalue) if wins + losses else 1.0)
    p, best = min(zip(holm(ps), scales, strict=True))
    if p < ALPHA:
        yield Found(
            f"UAR is {scores[1.0]:.3f} with the adapter, and {scores[best]:.3f} with it scaled by {best:g} "
            f"(p = {p:.1e}): it makes its own answers worse",
            {"uar_by_scale": {f"{scale:g}": score for scale, score in sorted(scores.items())}, "p": p},
        )


@check(
    "not_what_was_scored",
    "a score that these clips cannot give",
    ["labelled"],
    [*CAUSES, "chance"],
    mend="give the clips that were scored; look for clips of training among them, or another order of labels",
)
def not_what_was_scored(examined: Examined) -> Iterator[Found]:
    """Accuracies that the folder itself records, against the binomial interval (99 %) over these clips."""
    labelled = examined.labelled
    right, total = int((labelled.predicted == labelled.gold).sum()), len(labelled.gold)
    low = float(beta.ppf(ALPHA / 2, right, total - right + 1)) if right else 0.0
    high = float(beta.ppf(1 - ALPHA / 2, right + 1, total - right)) if right < total else 1.0
    for where, claim in claims(examined).items():
        if claim > high:
            yield Found(
                f"{where} records an accuracy of {claim:.3f}; {right} of {total} answers are right here "
                f"({right / total:.3f}, 99 % interval {low:.3f} to {high:.3f})",
                {"claimed": claim, "found": right / total, "interval": [low, high], "where": where},
            )
            return


def claims(examined: Examined) -> dict[str, float]:
    """Accuracies on held-out clips that the folder's own files record, by where they stand."""
    folder, found = examined.patient.folder, {}
    state = examined.patient.settings("trainer_state.json")
    for entry in state.get("log_history") or []:
        if isinstance(entry, dict) and isinstance(entry.get("eval_accuracy"), int | float):
            found["trainer_state.json"] = max(found.get("trainer_state.json", 0.0), float(entry["eval_accuracy"]))
    for name in ("all_results.json", "eval_results.json"):
        value = examined.patient.settings(name).get("eval_accuracy")
        if isinstance(value, int | float):
            found[name] = float(value)
    card = folder / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        told = re.search(r"accuracy\W{0,5}\s*[:=|]?\s*([01]?\.\d+|\d{1,3}(?:\.\d+)? ?%)", text, re.IGNORECASE)
        if told:
            value = told.group(1)
            found["README.md"] = float(value.rstrip(" %")) / 100 if value.endswith("%") else float(value)
    return {where: value for where, value in found.items() if 0 <= value <= 1 and json.dumps(value) != "NaN"}
