"""What an adapter cost elsewhere: how much of Whisper's own speech recognition is left when its encoder is adapted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...statistics.error_rates import errors, rate_interval
from ...statistics.intervals import LeftOut
from ..listener import Listener
from ..measure import Part, Pass, Replay, Study

MODELS = ("frozen", "trained")
#: What a transcript is held against: the corpus' words, or what the decoder writes with the bare encoder.
TEXT, BARE = "text", "bare transcript"
QUANTITIES = ("wer", "cer")
COLUMNS = ["quantity", "against", "model", "emotion", "rate", "rate_low", "rate_high", "errors", "units", "exact"]
COLUMNS += ["interval_of", "clips", "note"]
TRANSCRIPTS = ["clip", "speaker", "emotion", "text", "frozen", "trained"]
#: A name of a sentence, and no sentence.
CODE = re.compile(r"[A-Za-z]{0,3}[0-9]+")


class Recognition:
    """Greedy transcripts of every clip by Whisper's decoder, with the bare and with the adapted encoder.

    The encoder hears the whole window of 30 s, whatever the context of the analysis: on a trimmed one Whisper repeats
    itself. Texts are compared in lower case and without punctuation. A decoder of several languages is told the clip's
    (`language`); where it knows none, the one that it hears with the bare encoder. The words are the corpus'
    `transcript`, else its `text`.

    `compute` gives `recognition`: quantity (wer, cer), against (text: the corpus' words; bare transcript: what the
    decoder writes with the bare encoder), model (frozen, trained, difference: trained less frozen, paired by clip),
    emotion ("" for all), rate (errors over words or characters of the reference, all clips together; above 1 where more
    is inserted than there is), its 95 % interval and what it speaks of, errors, units (words or characters of the
    reference), exact (share of clips without an error), clips, note: why there is no number. And `transcripts`: every
    clip's, with the corpus' words.

    Needs Whisper's decoder. Costs two forwards of the window a clip, and a decoding of each.
    """

    needs = frozenset({"decoder"})
    keys: ClassVar = {"recognition": ("quantity", "against", "model", "emotion"), "transcripts": ("clip",)}

    def __init__(self, study: Study) -> None:
        self._study = study
        self._written: dict[str, list[str]] = {model: [""] * len(study.clips) for model in MODELS}
        self._languages: list[str | None] = [None] * len(study.clips)
        if "language" in study.clips and study.means.decoder is not None:
            code = study.means.decoder.code
            self._languages = [code(name) if isinstance(name, str) else None for name in study.clips["language"]]

    def parts(self, model: str) -> frozenset[str]:
        """Nothing in the pass of the analysis' context."""
        return frozenset()

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Write down what the decoder makes of the encoder's output."""
        decoder = self._study.means.decoder
        assert decoder is not None
        rows, languages = part.batch.numbers, None
        if not decoder.english_only:
            heard = None
            for number, row in enumerate(rows):
                if self._languages[row] is None:
                    # the frozen encoder comes first
                    heard = heard or decoder.languages_of(part.tensor)
                    self._languages[row] = heard[number]
            languages = [str(self._languages[row]) for row in rows]
        for row, text in zip(rows, decoder.transcribe(part.tensor, languages), strict=True):
            self._written[part.model][row] = text

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def passes(self) -> Iterator[Pass]:
        """One over the whole window."""

        def wanted(model: str) -> frozenset[str]:
            return frozenset({"final_norm"} if model in MODELS else ())

        yield Pass("recognition", Listener(wanted, self.update), self._study.clips, context="full")

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `recognition` and `transcripts`."""
        clips = self._study.clips
        written = {"text": self._words or pd.NA, **self._written}
        table = clips[["clip", "speaker", "emotion"]].assign(**written)
        return {"recognition": pd.DataFrame(self._rows(), columns=COLUMNS), "transcripts": table[TRANSCRIPTS]}

    @cached_property
    def _words(self) -> list[str] | None:
        """The corpus' words of every clip, None where some clip has none."""
        return None if self._without_words else list(self._said)

    @cached_property
    def _said(self) -> pd.Series:
        for column in ("transcript", "text"):
            if column in self._study.clips and self._study.clips[column].notna().any():
                return self._study.clips[column]
        return pd.Series([pd.NA] * len(self._study.clips))

    @cached_property
    def _without_words(self) -> str:
        """Why the transcripts cannot be held against the corpus' words; empty where they can."""
        said, decoder = self._said, self._study.means.decoder
        if said.isna().all():
            return "the corpus has no text of its clips"
        if said.isna().any():
            return f"the corpus has no text of {int(said.isna().sum())} of {len(said)} clips"
        if all(CODE.fullmatch(str(text)) for text in said):
            return "the corpus' texts are codes and not words"
        others = sorted({code for code in self._languages if code is not None} - {"en"})
        if decoder is not None and decoder.english_only and others:
            return f"the decoder knows English alone, and the clips are in another language ({', '.join(others)})"
        return ""

    def _rows(self) -> Iterator[dict[str, Any]]:
        compared = {(BARE, "trained"): (self._written["frozen"], self._written["trained"])}
        if self._words is None:
            for quantity in QUANTITIES:
                for model in (*MODELS, "difference"):
                    yield self._empty(quantity, model)
        else:
            compared = {(TEXT, model): (self._words, self._written[model]) for model in MODELS} | compared
        found = {key: [errors(a, b) for a, b in zip(*texts, strict=True)] for key, texts in compared.items()}
        for (against, model), counts in found.items():
            array = np.array(counts, dtype=float)
            for number, quantity in enumerate(QUANTITIES):
                yield from self._rates(quantity, against, model, array[:, 2 * number], array[:, 2 * number + 1])
        if self._words is not None:
            frozen, trained = (np.array(found[TEXT, model], dtype=float) for model in MODELS)
            for number, quantity in enumerate(QUANTITIES):
                moved, units = trained[:, 2 * number] - frozen[:, 2 * number], frozen[:, 2 * number + 1]
                yield from self._rates(quantity, TEXT, "difference", moved, units)

    def _rates(
        self, quantity: str, against: str, model: str, wrong: np.ndarray, units: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """A row for all clips, then one for each class: `wrong` errors of `units` words a clip."""
        labels, left_out = self._study.labels, self._left_out
        weights = np.vstack([np.ones(len(labels)), left_out.weights])
        inside = {"": np.ones(len(labels), dtype=bool)}
        inside |= {name: labels == label for label, name in enumerate(self._study.classes)}
        for emotion, these in inside.items():
            if not these.any():
                continue
            of = weights @ (units * these)
            draws = weights @ (wrong * these) / np.where(of > 0, of, np.nan)
            value, without = float(draws[0]), draws[1:]
            row = {"quantity": quantity, "against": against, "model": model, "emotion": emotion, "rate": value}
            row |= {"errors": float(wrong[these].sum()), "units": float(units[these].sum())}
            row |= {"interval_of": left_out.of, "clips": int(these.sum()), "note": ""}
            if not row["units"]:
                row["note"] = f"there is no word in the {against}"
            elif model == "difference":
                row["rate_low"], row["rate_high"] = left_out.interval(value, without)
            else:
                row["rate_low"], row["rate_high"] = rate_interval(left_out, value, without, row["units"])
                row["exact"] = float((wrong[these] == 0).mean())
            yield row

    def _empty(self, quantity: str, model: str) -> dict[str, Any]:
        row = dict.fromkeys(COLUMNS, float("nan")) | {"quantity": quantity, "against": TEXT, "model": model}
        about = {"emotion": "", "interval_of": self._left_out.of, "clips": len(self._study.clips)}
        return row | about | {"note": self._without_words}

    @cached_property
    def _left_out(self) -> LeftOut:
        return LeftOut(self._study.clips["speaker"].to_numpy(), self._study.labels)
