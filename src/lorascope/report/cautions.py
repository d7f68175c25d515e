"""What a reader must know before the numbers: marks, leaks, too little data, points that say nothing, and what is
missing.
"""

from __future__ import annotations

from ..statistics.intervals import FEWEST_SPEAKERS
from ..store.finished import FinishedRun
from .figures import lens
from .readings.words import at, capital

#: How the caution begins that `work.kinds.analysis` notes of an adapter that was trained elsewhere.
UNKNOWN_SPEAKERS = "Whether these speakers were in the adapter's training is not known"
#: What corpora call the speaker of clips whose speaker isn't known.
NOBODY = "unknown"
#: The paper's number of analysed clips a class.
CLIPS_PER_CLASS = 25

#: With fewer folds not even a unanimous Wilcoxon test reaches p < .05 (two-sided).
FEWEST_FOLDS = 6

#: A mean over folds weighs every fold alike; with fewer test clips, or without a class, one clip moves its UAR too far.
CLIPS_PER_FOLD = 5


def cautions(folder: FinishedRun) -> list[tuple[str, str]]:
    """What to be careful with, most weighty first: (kind, sentence), each sentence once."""
    found: list[tuple[str, str]] = []
    if "adapter" in folder.manifest:
        # whether an adapter that was trained elsewhere knows these people decides what its scores are worth
        notes = folder.analysis.get("notes") or []
        found += [("Speakers", text) for text in notes if text.startswith(UNKNOWN_SPEAKERS)]
    if folder.synthetic:
        found.append(
            (
                "Synthetic speech",
                "The speech was made by a machine. Every number here says something of that machine, not of people.",
            )
        )
    found += [("Sick", f"{text} (lorascope doctor tells more).") for text in folder.manifest.get("sick") or []]
    found += [("Optimistic", f"{capital(reason)}: the scores flatter the model.") for reason in folder.optimistic]
    shown = set(folder.optimistic)
    found += [("Warning", str(text)) for text in folder.manifest.get("warnings") or [] if text not in shown]
    found += [("No seal", text) for text in _unsealed(folder)]
    if folder.only is None:
        # of Table 1, which the page of one analysis has not
        found += [("Few folds", text) for text in _folds(folder)]
        found += [("Small folds", text) for text in _small_folds(folder)]
    found += [("Few clips", text) for text in _clips(folder)]
    found += [("Constant lens", text) for text in _constant_lens(folder)]
    told = {text for _, text in found}
    found += [("Note", text) for text in folder.analysis.get("notes") or [] if text not in told]
    found += [("Note", text) for text in _table_notes(folder)]
    found += [("Missing", f"{text}.") for text in folder.missing]
    return list(dict.fromkeys(found))


#: Kinds that leave the result as it is, or concern one figure: the page keeps them behind a line.
_GENERAL = ("Note", "Few clips", "Few folds", "Constant lens", "Missing", "No seal")
#: Sections of the page by what begins the cautions that concern their figure: kind, sentence.
_CONCERN = {
    "results": (("Few folds", ""), ("Small folds", "")),
    "lens": (("Constant lens", ""),),
    "ranks": (("Note", "Rank space ("),),
    "spectra": (("Note", "CKA ("),),
}


def split(found: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Those that decide whether to read on, and the others."""
    return [each for each in found if each[0] not in _GENERAL], [each for each in found if each[0] in _GENERAL]


def of_section(found: list[tuple[str, str]], section: str) -> list[str]:
    """The sentences that concern what a section of the page shows."""
    concern = _CONCERN.get(section, ())
    return [text for kind, text in found if any(kind == name and text.startswith(start) for name, start in concern)]


def _unsealed(folder: FinishedRun) -> list[str]:
    count = len(folder.unsealed)
    several = "One cell has" if count == 1 else f"{count} cells have"
    return [f"{several} no seal: whether its files are what was written cannot be told."] if count else []


def _folds(folder: FinishedRun) -> list[str]:
    folds = {cell.metrics["fold"] for cell in folder.table1_cells}
    if not folds or len(folds) >= FEWEST_FOLDS:
        return []
    several = "one fold" if len(folds) == 1 else f"{len(folds)} folds"
    return [f"Table 1 rests on {several}: too few for a paired test of the methods to tell anything."]


def _small_folds(folder: FinishedRun) -> list[str]:
    """The folds whose UAR rests on hardly any clips, or on some of the classes alone."""
    few, lacking = {}, {}
    for cell in folder.table1_cells:
        fold, classes = str(cell.metrics["fold"]), cell.metrics["classes"]
        clips = {name: sum(row) for name, row in zip(classes, cell.metrics["confusion"], strict=True)}
        if sum(clips.values()) < CLIPS_PER_FOLD:
            few[fold] = sum(clips.values())
        if absent := [name for name, count in clips.items() if not count]:
            lacking[fold] = absent
    told = [f"{fold} ({count})" for fold, count in few.items()]
    sentences = [f"test clips of fold {', '.join(told)}: fewer than {CLIPS_PER_FOLD}"] if few else []
    told = [f"{fold} ({', '.join(absent)})" for fold, absent in lacking.items()]
    sentences += [f"classes without a test clip in fold {', '.join(told)}"] if lacking else []
    weighs = "the mean over folds counts such a fold as much as any other; go by the pooled values"
    return [f"{capital(sentence)}: {weighs}." for sentence in sentences]


def _clips(folder: FinishedRun) -> list[str]:
    analysis = folder.analysis
    sentences = []
    few = [row for row in analysis.get("per_class") or [] if row["taken"] < CLIPS_PER_CLASS]
    if few:
        counts = ", ".join(f"{row['emotion']} {row['taken']} (of {row['available']} available)" for row in few)
        sentences.append(f"Fewer analysed clips a class than the paper's {CLIPS_PER_CLASS}: {counts}.")
    speakers = {name for names in (analysis.get("speakers") or {}).values() for name in names}
    if 0 < len(speakers) < FEWEST_SPEAKERS and len(folder.shown) < 2:
        whom = "one speaker" if len(speakers) == 1 else "two speakers"
        if speakers == {NOBODY}:
            whom = "speakers who are not known"
        sentences.append(
            f"All analysed clips are of {whom}: the intervals speak of these clips, not of other speakers."
        )
    return sentences


def _constant_lens(folder: FinishedRun) -> list[str]:
    """Of the models that the figure shows; the table has a column for all."""
    table = folder.table("lens")
    if table is None:
        return []
    table = table[table["model"].isin(list(lens.NAMES))]
    alike: dict[tuple[str, str, str], list[str]] = {}
    for (model, variant), rows in table[lens.constant(table)].groupby(["model", "variant"], sort=False):
        classes = ", ".join(sorted(rows["top_class"].unique()))
        alike.setdefault((str(model), classes, at(rows["layer"])), []).append(str(variant))
    return [
        f"Logit lens, {model} ({', '.join(variants)}): one class ({classes}) takes at least 95 % of the clips at "
        f"{where}; overlap and accuracy say nothing there."
        for (model, classes, where), variants in alike.items()
    ]


def _table_notes(folder: FinishedRun) -> list[str]:
    sentences = []
    for stem, name, value in (("rank_scores", "Rank space", "probe_low"), ("cka", "CKA", "ci_low")):
        table = folder.table(stem)
        if table is None:
            continue
        # A note beside a whole value only names the curve.
        noted = table[table["note"].fillna("").ne("") & table[value].isna()]
        for note, rows in noted.groupby("note"):
            models = ", ".join(sorted(rows["model"].unique()))
            sentences.append(f"{name} ({models}, {at(rows['layer'])}): {note}.")
    return sentences
