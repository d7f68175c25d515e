"""Which cue of the sound decides: what becomes of the answer when a clip's F0, tempo, intensity, spectrum or order is
changed, and its sentence kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...sound.features import Features
from ...sound.resynthesis import Change
from ..answers import Answer, Answers
from ..listener import Listener
from ..measure import Part, Pass, Replay, Study
from ..per_clip import PerClip

#: The clips as they are, and resynthesised without a change: what every change is compared with.
ORIGINAL, RESYNTHESIS = "original", "resynthesis"
#: Every change by its name; "common F0" moves each clip by as much as brings its speaker's median to that of all.
COMMON = "common F0"
CHANGES: Mapping[str, Change] = {
    "flat F0": Change(spread=0.0),
    "half F0 range": Change(spread=0.5),
    "F0 +3 st": Change(shift=3.0),
    "F0 −3 st": Change(shift=-3.0),
    COMMON: Change(),
    "tempo ×0.8": Change(tempo=0.8),
    "tempo ×1.25": Change(tempo=1.25),
    "flat intensity": Change(level=True),
    "low-pass 4 kHz": Change(low_pass=4000.0),
    "low-pass 1 kHz": Change(low_pass=1000.0),
    "reversed 100 ms": Change(reversed_within=0.1),
}
MODELS = ("frozen", "trained")
#: Of a model; of the difference of the two models only what compares with the unchanged sound.
LEVELS = ("uar", "accuracy", "gold")
MOVED = ("flipped", "delta_uar", "delta_accuracy", "delta_gold")
COLUMNS = ["change", "model", "against", *LEVELS, *MOVED]
COLUMNS += [f"{name}_{end}" for name in (*LEVELS, *MOVED) for end in ("low", "high")]
COLUMNS += ["interval_of", "clips", "unvoiced", "note"]
BY_CLASS = ["change", "model", "emotion", "gold", "delta_gold", "delta_gold_low", "delta_gold_high", "interval_of"]
BY_CLASS += ["clips"]


class Counterfactual:
    """The answers of the frozen and of the trained model to clips that are changed in one cue.

    Changes: F0 flat at the clip's median, its range halved (in semitones), 3 semitones up and down, every speaker's
    median moved to the geometric mean of theirs; tempo times .8 and 1.25; the intensity contour flat; no frequencies
    above 4 and 1 kHz; time backwards within windows of 100 ms. Each is compared with the unchanged resynthesis, and
    that one, first, with the clip as it is. Clips without voicing cannot be resynthesised: they are left out of all
    rows, and counted.

    `compute` gives `counterfactual`: change, model (frozen, trained, difference: trained less frozen, paired by clip),
    against (what it is compared with), UAR, accuracy, gold (mean probability of the gold class), flipped (share of
    clips whose class is not that of the sound it is compared with), delta_* against it (paired by clip), 95 % intervals
    and what they speak of, clips, unvoiced (clips left out), note. And `counterfactual_classes`: the same change of the
    gold class' probability for the clips of each class.

    Needs the clips' sounds and a trained head. Costs twelve forwards a clip and model beside the pass, and Praat's
    resynthesis of every clip, which is cached.
    """

    needs = frozenset({"head", "sounds"})
    keys: ClassVar = {
        "counterfactual": ("change", "model", "against"),
        "counterfactual_classes": ("change", "model", "emotion"),
    }

    def __init__(self, study: Study) -> None:
        self._whole = study
        self._original: dict[str, PerClip] = {}
        self._models = [model for model in MODELS if model in study.models and model not in study.headless]

    def parts(self, model: str) -> frozenset[str]:
        """The logits of both models."""
        return frozenset({"logits"} if model in self._models else ())

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Keep the answers to the clips as they are."""
        self._original.setdefault(part.model, PerClip(self._whole)).put(part.batch, part.tensor)

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def passes(self) -> Iterator[Pass]:
        """One over the resynthesis and one for each change, on the clips with voicing."""
        sounds, clips = self._whole.means.sounds, self._study.clips
        assert sounds is not None
        for name, change in {RESYNTHESIS: Change(), **CHANGES}.items() if len(clips) else ():
            of_clip = dict.fromkeys(clips["clip"], change)
            if name == COMMON:
                of_clip = {clip: Change(shift=shift) for clip, shift in self._to_common.items()}

            def features(clip: str, of_clip: Mapping[str, Change] = of_clip) -> Features:
                return sounds.features(clip, of_clip[clip])

            def keep(part: Part, name: str = name) -> None:
                self._answers.put((part.model, name), part.tensor, part.batch)

            yield Pass(name, Listener(self.parts, keep), clips, features)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `counterfactual` and `counterfactual_classes`."""
        if not len(self._study.clips):
            note = "no clip is voiced, so none can be resynthesised"
            told = {"against": RESYNTHESIS, "clips": 0, "unvoiced": self._unvoiced, "note": note}
            rows = [{"change": name, "model": model} | told for name in CHANGES for model in self._models]
            empty = pd.DataFrame(rows, columns=COLUMNS)
            numbers = [name for name in COLUMNS if name not in ("change", "model", "interval_of", *told)]
            empty = empty.astype(dict.fromkeys(numbers, float)).assign(interval_of="")
            return {"counterfactual": empty, "counterfactual_classes": pd.DataFrame(columns=BY_CLASS)}
        for model, kept in self._original.items():
            logits = kept.compute(f"logits of model {model}")
            self._answers.give((model, ORIGINAL), logits[self._voiced.to_numpy()])
        return {
            "counterfactual": pd.DataFrame(self._rows(), columns=COLUMNS),
            "counterfactual_classes": pd.DataFrame(self._class_rows(), columns=BY_CLASS),
        }

    @cached_property
    def _medians(self) -> pd.Series:
        """Median F0 of every clip, hertz."""
        assert self._whole.means.sounds is not None
        clips = self._whole.clips["clip"]
        return clips.map(self._whole.means.sounds.medians(clips))

    @property
    def _voiced(self) -> pd.Series:
        return self._medians.notna()

    @property
    def _unvoiced(self) -> int:
        return int((~self._voiced).sum())

    @cached_property
    def _study(self) -> Study:
        """The clips with voicing alone."""
        return replace(self._whole, clips=self._whole.clips[self._voiced].reset_index(drop=True))

    @cached_property
    def _answers(self) -> Answers:
        return Answers(self._study, "changed sound")

    @cached_property
    def _to_common(self) -> dict[str, float]:
        """By how many semitones each clip is moved so that its speaker's median is that of all, to a hundredth."""
        logs = 12 * np.log2(self._medians[self._voiced].to_numpy())
        of_speaker = pd.Series(logs).groupby(self._study.clips["speaker"].to_numpy()).median()
        shifts = of_speaker.mean() - self._study.clips["speaker"].map(of_speaker)
        return {str(clip): round(float(by), 2) for clip, by in zip(self._study.clips["clip"], shifts, strict=True)}

    def _rows(self) -> Iterator[dict[str, Any]]:
        about = {"interval_of": self._answers.left_out.of, "clips": len(self._study.clips)}
        about |= {"unvoiced": self._unvoiced, "note": ""}
        for name, against in self._compared():
            found = {model: self._found(model, name, against) for model in self._models}
            row = {"change": name, "against": against} | about
            for model, draws in found.items():
                yield row | {"model": model} | self._numbers(draws, (*LEVELS, *MOVED))
            if len(found) == 2:
                moved = {key: found["trained"].draws[key] - found["frozen"].draws[key] for key in MOVED}
                yield row | {"model": "difference"} | self._numbers(Answer(moved, False), MOVED, plain=True)

    def _class_rows(self) -> Iterator[dict[str, Any]]:
        left_out, labels = self._answers.left_out, self._study.labels
        for name, against in self._compared():
            gold = {model: self._gold(model, name) for model in self._models}
            moved = {model: own - self._gold(model, against) for model, own in gold.items()}
            if len(moved) == 2:
                moved["difference"] = moved["trained"] - moved["frozen"]
            for model, by_clip in moved.items():
                for label, emotion in enumerate(self._study.classes):
                    inside = labels == label
                    if not inside.any():
                        continue
                    weights = self._weights * inside
                    totals = weights.sum(axis=1)
                    draws = weights @ by_clip / np.where(totals > 0, totals, np.nan)
                    low, high = left_out.interval(float(draws[0]), draws[1:])
                    level = float(gold[model][inside].mean()) if model in gold else float("nan")
                    yield dict(
                        zip(BY_CLASS, (name, model, emotion, level, float(draws[0]), low, high), strict=False)
                    ) | {"interval_of": left_out.of, "clips": int(inside.sum())}

    @staticmethod
    def _compared() -> Iterator[tuple[str, str]]:
        yield RESYNTHESIS, ORIGINAL
        for name in CHANGES:
            yield name, RESYNTHESIS

    @cached_property
    def _weights(self) -> np.ndarray:
        """What each clip counts: as they are, then without each unit, [1 + units, clips]."""
        return np.vstack([np.ones(len(self._study.clips)), self._answers.left_out.weights])

    def _gold(self, model: str, sound: str) -> np.ndarray:
        """Probability of the gold class, [clips]."""
        logits = self._answers.logits((model, sound))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True))[np.arange(len(logits)), self._study.labels]

    def _found(self, model: str, name: str, against: str) -> Answer:
        found = self._answers.answer((model, name), (model, against))
        own, other = (self._gold(model, sound) for sound in (name, against))
        totals = self._weights.sum(axis=1)
        gold, moved = (self._weights @ each / np.where(totals > 0, totals, np.nan) for each in (own, own - other))
        return Answer(found.draws | {"gold": gold, "delta_gold": moved}, False)

    def _numbers(self, answer: Answer, names: tuple[str, ...], plain: bool = False) -> dict[str, float]:
        row: dict[str, float] = {}
        for name in names:
            row[name] = answer.value(name)
            if plain:
                ends = self._answers.left_out.interval(answer.value(name), answer.draws[name][1:])
                row |= dict(zip((f"{name}_low", f"{name}_high"), ends, strict=True))
            else:
                row |= self._answers.ends(answer, name)
        return row
