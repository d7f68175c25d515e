"""How often the 95 % intervals hold the truth, and how often nulls are left by chance: every one that lorascope
prints, on simulated data.

    python benchmarks/coverage.py [--repeats 1000] [--only lens]

prints a Markdown table. Rows are the printed numbers, columns the test speakers (of "mean over folds" the folds); with
two speakers the interval speaks of these clips, with three and more of speakers. Each share stands with its Monte Carlo
standard error. The numbers are computed by the functions that lorascope computes them with. What stands in brackets is
told and doesn't count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from measure import arguments, goal
from simulated_folds import DRAWS, folds, sentences, units
from simulated_hearing import counterfactual, frontier
from simulations import (
    CLASSES,
    RANK,
    SKILL,
    WIDTH,
    Design,
    Ends,
    Sample,
    Simulation,
    Speaking,
    _factors,
    answers,
    expected_recall,
    frames,
    numbers,
    truth_of,
    views,
)

from lorascope.analysis.measures.cka import Cka
from lorascope.analysis.measures.contribution import Contribution
from lorascope.analysis.measures.erasure import Erasure
from lorascope.analysis.measures.lens import Lens
from lorascope.analysis.measures.spectra import Spectra, crossing_interval
from lorascope.findings.scores import pooled_differences, pooled_scores
from lorascope.statistics import stats
from lorascope.statistics.grams import power_spectrum
from lorascope.statistics.information import kl_divergence
from lorascope.statistics.intervals import LeftOut
from lorascope.statistics.separation import separation, standardised

#: Test speakers of Table 1, 8 clips a class of each.
TESTED = tuple(Design(number) for number in (2, 3, 4, 6, 10, 24))
#: Speakers of an analysis, which takes about 25 clips a class.
ANALYSED = tuple(Design(number, clips=clips) for number, clips in ((2, 12), (3, 8), (4, 6), (6, 4), (10, 3), (24, 1)))
#: Speakers' effect on the logit of a right answer.
EFFECT = 0.8


# ------------------------------------------------------------------------------------------ Table 1, comparison


def table1(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Pooled UAR and WAR of answers with a speaker effect of .8 on the logit scale, also where classes
    or clips are dealt badly.
    """
    effects = EFFECT * rng.normal(size=design.speakers)
    kinds = {
        "": (design, SKILL),
        ", of a good model": (design, SKILL + 1.7),
        ", uneven clips": (replace(design, uneven=True), SKILL),
        ", each speaker one of two classes": (replace(design, carried=True, classes=CLASSES[:2]), SKILL[:2]),
    }
    for kind, (own, skill) in kinds.items():
        sample = own.draw(rng)
        predicted = answers(sample, rng, effects, skill)
        scores = pooled_scores(_told(sample, predicted), own.classes)
        truth = expected_recall(EFFECT, tuple(skill))
        for metric in ("uar",) if kind else ("uar", "war"):
            name = f"pooled_{metric}"
            low, high = (scores.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
            yield Ends(f"pooled {metric.upper()}{kind}", low, high, truth)
        if not kind:
            yield _bootstrap(sample, predicted, rng, truth)


def _bootstrap(sample: Sample, predicted: np.ndarray, rng: np.random.Generator, truth: float) -> Ends:
    """What lorascope does not do: percentiles of the pooled UAR over speakers drawn with replacement."""
    speakers = sample.design.speakers
    drawn = rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=400).astype(float)
    found = stats.weighted_recall(sample.label, predicted, drawn[:, sample.speaker], len(sample.design.classes))
    return Ends("(pooled UAR, speaker bootstrap)", *stats.percentile_interval(found), truth)


def differences(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Pooled difference of two methods, whose speaker effects correlate by .8."""
    sample = design.draw(rng)
    shared, *own = rng.normal(size=(3, design.speakers))
    tables = []
    for effect, skill in zip(own, (SKILL + 0.5, SKILL), strict=True):
        effects = EFFECT * (math.sqrt(0.8) * shared + math.sqrt(0.2) * effect)
        tables.append(_told(sample, answers(sample, rng, effects, skill)))
    truth = expected_recall(EFFECT, tuple(SKILL + 0.5)) - expected_recall(EFFECT, tuple(SKILL))
    for metric, row in pooled_differences(*tables, design.classes).items():
        low, high = row.get("pooled_low", math.nan), row.get("pooled_high", math.nan)
        yield Ends(f"pooled difference of two methods, {metric.upper()}", low, high, truth)


def _told(sample: Sample, predicted: np.ndarray) -> pd.DataFrame:
    return sample.table.assign(fold=0, predicted=np.array(sample.design.classes)[predicted])


# --------------------------------------------------------------------------------------------------- measures


def contribution(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Ratio, cosine, and the change of the ratio against the frozen model."""
    sample = design.draw(rng)
    of_speakers = design.speakers > 2
    ratio, ratio_here = numbers(sample, rng, 1.0, 0.15)
    cosine, cosine_here = numbers(sample, rng, 0.2, 0.1)
    change, change_here = numbers(sample, rng, 0.05, 0.05)
    measure = Contribution(sample.study(("trained", "frozen")))
    for model, length in (("trained", ratio + change), ("frozen", ratio)):
        stream, attention = np.zeros((2, sample.size, 2))
        stream[:, 0] = 1.0
        attention[:, 0], attention[:, 1] = length * cosine, length * np.sqrt(1 - cosine**2)
        for name, values in (("resid_pre", stream), ("attn_out", attention), ("mlp_out", stream)):
            measure.update(sample.part(model, name, values))
    found = measure.compute()["contribution"]
    rows = _where(found, component="attn", variant="paper", frames="all").set_index("model")
    told = (
        ("frozen", "ratio", 1.0, ratio_here),
        ("frozen", "cosine", 0.2, cosine_here),
        ("difference", "ratio", 0.05, change_here),
    )
    for model, column, everyone, here in told:
        name = f"contribution, {column}" + ", trained − frozen" * (model == "difference")
        yield _ends(name, rows.loc[model], column, everyone if of_speakers else here)


def lens(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """KL, overlap, accuracy and UAR of a lens that sees half of what the model sees."""
    sample = design.draw(rng)
    speaking = Speaking(design, rng)
    final, weaker = speaking.logits(sample.speaker, sample.label, rng)
    measure = Lens(sample.study())
    for name, values in (("resid_pre", weaker), ("resid_post", final), ("logits", final)):
        measure.update(sample.part("trained", name, values))
    found = _where(measure.compute()["lens"], layer=0, variant="corrected").iloc[0]
    truth = truth_of(design, speaking, _of_lens)
    for column in ("kl", "overlap", "accuracy", "uar"):
        yield _ends(
            f"lens, {column if column != 'uar' and column != 'kl' else column.upper()}", found, column, truth[column]
        )


def _of_lens(final: np.ndarray, weaker: np.ndarray, label: np.ndarray) -> dict[str, float]:
    log_p, log_q = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in (weaker, final))
    right = weaker.argmax(axis=1) == label
    found = {"kl": kl_divergence(log_p, log_q).mean(), "accuracy": right.mean(), "uar": right.mean()}
    return found | {"overlap": (weaker.argmax(axis=1) == final.argmax(axis=1)).mean()}


def erasure(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """UAR with a block skipped, and what it, accuracy and loss change by."""
    sample = design.draw(rng)
    speaking = Speaking(design, rng)
    final, weaker = speaking.logits(sample.speaker, sample.label, rng)
    measure = Erasure(sample.study())
    measure.update(sample.part("trained", "logits", final))
    measure.replay(sample.replay(weaker))
    found = _where(measure.compute()["erasure"], mode="single").iloc[0]
    truth = truth_of(design, speaking, _of_erasure)
    for column, name in (("uar", "UAR"), ("delta_uar", "change of UAR"), ("delta_loss", "change of loss")):
        yield _ends(f"erasure, {name}", found, column, truth[column])


def _of_erasure(final: np.ndarray, weaker: np.ndarray, label: np.ndarray) -> dict[str, float]:
    def loss(x: np.ndarray) -> float:
        return float((np.logaddexp.reduce(x, axis=1) - x[np.arange(len(x)), label]).mean())

    uar = (weaker.argmax(axis=1) == label).mean()
    return {
        "uar": uar,
        "delta_uar": uar - (final.argmax(axis=1) == label).mean(),
        "delta_loss": loss(weaker) - loss(final),
    }


def spectra(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """k90 of A-out, B-out and A's gradient; clips' gradients differ in size by a factor of two."""
    sample = design.draw(rng)
    measure = Spectra(sample.study(factors=True))
    a_out, *a_grams = frames(sample, rng)
    b_grad, *b_grams = frames(sample, rng, np.exp(-np.arange(WIDTH) / 6.0), uneven=0.7)
    measure.update(sample.part("trained", "lora_a", a_out))
    measure.update(sample.part("trained", "grad_lora_b", b_grad))
    found = _where(measure.compute()["spectra_summary"], variant="corrected").set_index(["factor", "quantity"])
    b = _factors("trained").b.numpy()
    here = int(design.speakers == 2)
    grams = {
        ("A", "activation"): a_grams[here],
        ("B", "activation"): b @ a_grams[here] @ b.T,
        ("A", "gradient"): b.T @ b_grams[here] @ b,
    }
    for (factor, quantity), gram in grams.items():
        truth = float(stats.k90(power_spectrum(torch.from_numpy(gram))))
        yield _ends(f"(k90, {factor} {quantity}s)", found.loc[(factor, quantity)], "k90", truth)
    left_out, clips = LeftOut(sample.speaker, sample.label), np.einsum("ntr,nts->nrs", a_out, a_out)
    power, *without = power_spectrum(torch.from_numpy(np.concatenate([[clips.mean(axis=0)], left_out.mean(clips)])))
    low, high = crossing_interval(power, np.array(without), left_out)
    crossing = float(stats.k90_crossing(power_spectrum(torch.from_numpy(a_grams[here]))))
    yield Ends("where A activations' energy reaches 90 %", low, high, crossing)


def similarity(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """CKA of two views that share half of their variance."""
    sample = design.draw(rng)
    x, y, everyone, here = views(sample, rng, shared=0.5)
    found = _cka(sample, x, y, 50)
    row = _where(found, pair="A:trained~gaussian", kernel="linear").iloc[0]
    truth = here if design.speakers == 2 else everyone
    yield Ends("CKA of two views", row["ci_low"], row["ci_high"], truth)


def shuffled(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """CKA's null where the views have nothing in common."""
    sample = design.draw(rng)
    x, y, _, _ = views(sample, rng, shared=0.0)
    found = _where(_cka(sample, x, y, DRAWS), pair="A:trained~gaussian").set_index("kernel")
    for kernel in ("linear", "rbf"):
        row = found.loc[kernel]
        yield Ends(f"null of CKA, {kernel}", row["null_low"], row["null_high"], row["value"])


def _cka(sample: Sample, x: np.ndarray, y: np.ndarray, draws: int) -> pd.DataFrame:
    study = sample.study(("trained", "gaussian"), draws=draws, factors=True)
    measure = Cka(replace(study, headless=frozenset(study.models)), flattened=())
    for model, values in (("trained", x), ("gaussian", y)):
        measure.update(sample.part(model, "lora_a", values))
    return measure.compute()["cka"]


def probes(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """The probe's UAR where classes lie apart, with the same two speakers in all simulations or others in each."""
    sample = design.draw(rng)
    who = np.random.default_rng(5) if design.speakers == 2 else rng
    of_speaker = design.spread * who.normal(size=(design.speakers, RANK))
    centres = np.random.default_rng(6).normal(size=(len(CLASSES), RANK)) * 0.6
    features = centres[sample.label] + of_speaker[sample.speaker] + rng.normal(size=(sample.size, RANK))
    found, _ = _separation(sample, features, 1)
    yield Ends("probe UAR", found.probe_low, found.probe_high, math.nan, found.probe_uar)


def labels_shuffled(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Nulls of silhouette and neighbours where the classes are all alike."""
    sample = replace(design, uneven=True).draw(rng)
    of_speaker = design.spread * rng.normal(size=(design.speakers, RANK))
    found, _ = _separation(sample, of_speaker[sample.speaker] + rng.normal(size=(sample.size, RANK)), DRAWS)
    yield Ends("null of the silhouette", -math.inf, found.silhouette_null_high, found.silhouette)
    yield Ends("null of the neighbours", -math.inf, found.knn_null_high, found.knn)


def _separation(sample: Sample, features: np.ndarray, draws: int):
    speakers = sample.table["speaker"].to_numpy()
    return separation(features, standardised(features), sample.label, speakers, draws, 0)


def _where(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    return table[np.logical_and.reduce([(table[column] == value).to_numpy() for column, value in values.items()])]


def _ends(name: str, row: pd.Series, column: str, truth: float) -> Ends:
    return Ends(name, row[f"{column}_low"], row[f"{column}_high"], truth)


# -------------------------------------------------------------------------------------------------------- runs

#: By the word that --only takes: the simulation, and whether speakers differ by .3 and by 1 of the
#: spread within a speaker.
SIMULATIONS: dict[str, tuple[Simulation, bool]] = {
    "table1": (table1, False),
    "differences": (differences, False),
    "folds": (folds, False),
    "units": (units, False),
    "sentences": (sentences, False),
    "contribution": (contribution, True),
    "lens": (lens, True),
    "erasure": (erasure, True),
    "spectra": (spectra, True),
    "cka": (similarity, True),
    "cka-null": (shuffled, True),
    "counterfactual": (counterfactual, True),
    "frontier": (frontier, True),
    "probes": (probes, True),
    "probes-null": (labels_shuffled, True),
}


def held(simulation: Simulation, design: Design, repeats: int, seed: int = 0) -> pd.DataFrame:
    """By name: how many simulations had an interval (`intervals`), and the share of these that held the truth."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame([ends for _ in range(repeats) for ends in simulation(design, rng)])
    rows["truth"] = rows["truth"].fillna(rows.groupby("name")["value"].transform("mean"))
    rows = rows.assign(intervals=rows["low"].notna(), held=rows["truth"].between(rows["low"], rows["high"]))
    found = rows.groupby("name", sort=False)[["intervals", "held"]].sum()
    return found.assign(share=found["held"] / found["intervals"].where(found["intervals"] > 0))


def main(argv: list[str] | None = None) -> None:
    """Simulate and print."""
    args = arguments(__doc__ or "", argv, repeats=1000, only=None, seed=0)
    repeats = 3 if args.quick else args.repeats
    columns = slice(0, 3, 2) if args.quick else slice(None)
    cells: dict[tuple[str, str], dict[str, str]] = {}
    within = []
    for word, (simulation, differ) in SIMULATIONS.items():
        if args.only and word not in args.only.split(","):
            continue
        for spread in (0.3, 1.0) if differ else (0.3,):
            for design in (ANALYSED if differ else TESTED)[columns]:
                found = held(simulation, replace(design, spread=spread), repeats, args.seed)
                for name, row in found.iterrows():
                    null = str(name).startswith("null")
                    cell = cells.setdefault((str(name), f"{spread:g}" if differ else ""), {})
                    cell[str(design.speakers)] = _shown(row, repeats, null)
                    if row["intervals"] and not str(name).startswith("("):
                        share = 1 - row["share"] if null else row["share"]
                        error = math.sqrt(0.05 * 0.95 / row["intervals"])
                        low, high = (0.04, 0.06) if null else (0.93, 0.97)
                        within.append(low - 2 * error <= share <= high + 2 * error)
    heads = [str(design.speakers) for design in TESTED[columns]]
    print("| number | speakers differ | " + " | ".join(f"{head} speakers" for head in heads) + " |")
    print("|---|---|" + "---:|" * len(heads))
    for (name, spread), row in cells.items():
        print(f"| {name} | {spread} | " + " | ".join(row.get(head, "") for head in heads) + " |", flush=True)
    goal(
        "intervals hold 93 to 97 %, nulls 4 to 6 %, within two errors",
        100 * float(np.mean(within)),
        at_least=100,
        unit="%",
    )


def _shown(row: pd.Series, repeats: int, null: bool) -> str:
    """The share in per cent with its Monte Carlo error; of nulls, of what was found outside."""
    if not row["intervals"]:
        return "none"
    share = 1 - row["share"] if null else row["share"]
    error = math.sqrt(share * (1 - share) / row["intervals"])
    some = f" ({row['intervals'] / repeats:.0%} have one)" if row["intervals"] < repeats else ""
    return f"{100 * share:.1f} ± {100 * error:.1f}{some}"


if __name__ == "__main__":
    main()
