"""Simulations of what the measures tell that hear something else than the clips: changed sound, and error rates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from simulations import Design, Ends, Sample, Speaking, truth_of

from lorascope.analysis.means import Means
from lorascope.analysis.measure import Replay
from lorascope.analysis.measures import counterfactual as changed
from lorascope.analysis.measures import frontier as dials
from lorascope.analysis.measures.frontier import INTACT, Setting, choice

#: The whole dial alone, on which all other settings' intervals are as these.
DIAL = tuple(Setting("whole", alpha, alpha, 1.0) for alpha in (0.0, 0.25, 0.5, 0.75, 1.0))
#: Word error rate by α, and the words of each clip.
RATES = {0.0: 0.0, 0.25: 0.03, 0.5: 0.08, 0.75: 0.2, 1.0: 0.4}
WORDS = 6


def counterfactual(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Flips and changes of UAR and of the gold class' probability, of one model and of two models' difference."""
    sample = design.draw(rng)
    sounds: Any = SimpleNamespace(medians=lambda clips: dict.fromkeys(clips, 120.0))
    study = replace(sample.study(("frozen", "trained")), means=Means(sounds))
    speaking = {model: Speaking(design, rng) for model in ("frozen", "trained")}
    numbers = {"frozen": _of_milder, "trained": _of_change}
    given = {model: each.logits(sample.speaker, sample.label, rng) for model, each in speaking.items()}
    given["frozen"] = given["frozen"][0], _milder(*given["frozen"])
    with patch.object(changed, "CHANGES", {"flat F0": changed.CHANGES["flat F0"]}):
        measure = changed.Counterfactual(study)
        for model, (before, _) in given.items():
            measure.update(sample.part(model, "logits", before))
        for over in measure.passes():
            for model, (before, after) in given.items():
                over.measure.update(sample.part(model, "logits", after if over.words == "flat F0" else before))
        tables = measure.compute()
    truth = {model: truth_of(design, speaking[model], number) for model, number in numbers.items()}
    truth["difference"] = {name: truth["trained"][name] - truth["frozen"][name] for name in truth["trained"]}
    rows = tables["counterfactual"].query("change == 'flat F0'").set_index("model")
    for model in ("trained", "difference"):
        of_both = ", trained − frozen" * (model == "difference")
        for column, name in (("flipped", "flips"), ("delta_uar", "change of UAR"), ("delta_gold", "change of gold")):
            yield _ends(f"changed sound, {name}{of_both}", rows.loc[model], column, truth[model][column])
    by_class = tables["counterfactual_classes"].query("change == 'flat F0' and model == 'trained'").iloc[0]
    yield _ends("changed sound, change of gold in a class", by_class, "delta_gold", truth["trained"]["first_class"])


def _milder(final: np.ndarray, weaker: np.ndarray) -> np.ndarray:
    return (final + weaker) / 2


def _of_milder(final: np.ndarray, weaker: np.ndarray, label: np.ndarray) -> dict[str, float]:
    return _of_change(final, _milder(final, weaker), label)


def _of_change(final: np.ndarray, weaker: np.ndarray, label: np.ndarray) -> dict[str, float]:
    def gold(x: np.ndarray) -> np.ndarray:
        return np.exp(x[np.arange(len(x)), label] - np.logaddexp.reduce(x, axis=1))

    before, after = final.argmax(axis=1), weaker.argmax(axis=1)
    moved = gold(weaker) - gold(final)
    found = {"flipped": float((before != after).mean()), "delta_gold": float(moved.mean())}
    found |= {"delta_uar": float((after == label).mean() - (before == label).mean())}
    return found | {"first_class": float(moved[label == 0].mean())}


def frontier(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """UAR and word error rate at half the scale, their changes, and what is chosen on other speakers."""
    sample = design.draw(rng)
    speaking = Speaking(design, rng)
    final, weaker = speaking.logits(sample.speaker, sample.label, rng)
    sigma = design.spread / 2
    factor = np.exp(sigma * rng.normal(size=design.speakers) - sigma**2 / 2)
    wrong = {alpha: rng.poisson(WORDS * rate * factor[sample.speaker]) for alpha, rate in RATES.items()}
    with patch.object(dials, "SETTINGS", DIAL):
        measure = dials.Frontier(replace(sample.study(("frozen", "trained"), factors=True), means=_decoder()))
        # its interval is made as that of the other rules; its search needs a model
        measure._steps.halves = []
        measure.update(sample.part("trained", "logits", final))
        replay = _replay(sample, final, weaker, wrong)
        measure.replay(replay)
        over = next(measure.passes()).measure
        for model, alpha in (("frozen", 0.0), ("trained", 1.0)):
            over.update(sample.part(model, "final_norm", wrong[alpha][:, None].astype(float)))
        over.replay(replay)
        tables = measure.compute()
        chosen = _chosen(measure)
    here = factor.mean() if design.speakers == 2 else 1.0
    uar = {setting: truth_of(design, speaking, _UAR[setting.alpha])["uar"] for setting in DIAL}
    rate = {setting: RATES[setting.alpha] * here for setting in DIAL}
    half = next(setting for setting in DIAL if setting.alpha == 0.5)
    row = tables["frontier"].query("alpha == .5").iloc[0]
    told = (
        ("uar", "UAR", uar[half]),
        ("delta_uar", "change of UAR", uar[half] - uar[INTACT]),
        ("wer", "word error rate", rate[half]),
        ("delta_wer", "change of word error rate", rate[half] - rate[INTACT]),
    )
    for column, name, truth in told:
        yield _ends(f"frontier, {name}", row, column, truth)
    row = tables["frontier_chosen"].iloc[0]
    for column, name, truth in (("uar", "UAR", uar), ("wer", "word error rate", rate)):
        # of these choices, as the interval holds them fixed
        expected = float(np.mean([truth[setting] for setting in chosen])) if chosen else float("nan")
        yield _ends(f"frontier, {name} of what others chose", row, column, expected)


def _chosen(measure: dials.Frontier) -> list[Setting]:
    """What every speaker's clips are answered with, by the rule "spared"; none with fewer than three speakers."""
    if measure._answers.left_out.of != "speakers":
        return []
    uar = np.stack([measure._answers.answer(setting, INTACT).draws["uar"] for setting in DIAL])
    rates = np.stack([measure._transcripts.rate(counts) for counts in measure._counts()[1].values()])
    return [DIAL[choice(uar[:, unit], rates[:, unit], "spared")] for unit in range(1, uar.shape[1])]


def _answers_at(alpha: float, final: np.ndarray, weaker: np.ndarray) -> np.ndarray:
    return alpha * final + (1 - alpha) * weaker


def _uar_at(alpha: float):
    def number(final: np.ndarray, weaker: np.ndarray, label: np.ndarray) -> dict[str, float]:
        return {"uar": float((_answers_at(alpha, final, weaker).argmax(axis=1) == label).mean())}

    number.__name__ = f"uar at {alpha:g}"
    return number


_UAR = {alpha: _uar_at(alpha) for alpha in RATES}


def _replay(sample: Sample, final: np.ndarray, weaker: np.ndarray, wrong: dict[float, np.ndarray]) -> Replay:
    """A model whose answers lie between these two, and that has so many words of each clip wrong."""

    def run(layer: int, hidden: torch.Tensor, change: Any, before: Any) -> torch.Tensor:
        return torch.from_numpy(_answers_at(_alpha(change), final, weaker))

    def encode(layer: int, hidden: torch.Tensor, change: Any) -> torch.Tensor:
        return torch.from_numpy(wrong[_alpha(change)][:, None, None].astype(float))

    return replace(sample.replay(final), run=run, encode=encode)


def _alpha(change: Any) -> float:
    (alpha,) = set(change.gains.values())
    return alpha


def _decoder() -> Means:
    """A decoder that is told how many words it has wrong: others first, then more than there are."""

    def transcribe(encoded: torch.Tensor, languages: Any = None) -> list[str]:
        return [_text(int(clip[0, 0])) for clip in encoded]

    decoder: Any = SimpleNamespace(english_only=True, code=lambda name: None, transcribe=transcribe)
    return Means(decoder=decoder)


def _text(wrong: int) -> str:
    kept = [f"word{place}" for place in range(min(wrong, WORDS), WORDS)]
    return " ".join([*(f"other{place}" for place in range(wrong)), *kept])


def _ends(name: str, row: Any, column: str, truth: float) -> Ends:
    return Ends(name, row[f"{column}_low"], row[f"{column}_high"], truth)
