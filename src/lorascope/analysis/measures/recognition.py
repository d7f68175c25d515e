"""What an adapter cost elsewhere: how much of Whisper's own speech recognition is left when its encoder is adapted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ..listener import Listener
from ..measure import Part, Pass, Replay, Study
from ..transcripts import BARE, TEXT, Counts, Transcripts, counted

MODELS = ("frozen", "trained")
COLUMNS = ["quantity", "against", "model", "emotion", "rate", "rate_low", "rate_high", "errors", "units", "exact"]
COLUMNS += ["interval_of", "clips", "note"]
TRANSCRIPTS = ["clip", "speaker", "emotion", "text", "frozen", "trained"]


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
        self._transcripts = Transcripts(study)

    def parts(self, model: str) -> frozenset[str]:
        """Nothing in the pass of the analysis' context."""
        return frozenset()

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Write down what the decoder makes of the encoder's output."""
        # the frozen encoder's comes first
        self._transcripts.put(part.model, part.tensor, part.batch)

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def passes(self) -> Iterator[Pass]:
        """One over the whole window."""

        def wanted(model: str) -> frozenset[str]:
            return frozenset({"final_norm"} if model in MODELS else ())

        yield Pass("recognition", Listener(wanted, self.update), self._study.clips, context="full")

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `recognition` and `transcripts`."""
        written = {model: self._transcripts.of(model) for model in MODELS}
        table = self._study.clips[["clip", "speaker", "emotion"]]
        said = pd.Series(self._transcripts.words or pd.NA, index=table.index, dtype=object)
        table = table.assign(text=said, **written)
        return {"recognition": pd.DataFrame(self._rows(), columns=COLUMNS), "transcripts": table[TRANSCRIPTS]}

    def _rows(self) -> Iterator[dict[str, Any]]:
        of, words = self._transcripts.of, self._transcripts.words
        if words is None:
            yield from self._empty()
        else:
            frozen, trained = (counted(words, of(model)) for model in MODELS)
            for quantity, counts in frozen.items():
                moved = Counts(trained[quantity].wrong - counts.wrong, counts.units)
                yield from self._rates(quantity, TEXT, "frozen", counts)
                yield from self._rates(quantity, TEXT, "trained", trained[quantity])
                yield from self._rates(quantity, TEXT, "difference", moved)
        for quantity, counts in counted(of("frozen"), of("trained")).items():
            yield from self._rates(quantity, BARE, "trained", counts)

    def _rates(self, quantity: str, against: str, model: str, counts: Counts) -> Iterator[dict[str, Any]]:
        """A row for all clips, then one for each class."""
        labels, transcripts = self._study.labels, self._transcripts
        inside = {"": np.ones(len(labels), dtype=bool)}
        inside |= {name: labels == label for label, name in enumerate(self._study.classes)}
        for emotion, these in inside.items():
            if not these.any():
                continue
            rates = transcripts.rate(counts, these)
            wrong, units = (float(each[these].sum()) for each in counts)
            row = {"quantity": quantity, "against": against, "model": model, "emotion": emotion}
            row |= {"rate": float(rates[0]), "errors": wrong, "units": units, "note": ""}
            row |= {"interval_of": transcripts.left_out.of, "clips": int(these.sum())}
            if units:
                ends = transcripts.ends(rates, units, moved=model == "difference")
                row |= dict(zip(("rate_low", "rate_high"), ends, strict=True))
            else:
                row["note"] = f"there is no word in the {against}"
            if units and model != "difference":
                row["exact"] = float((counts.wrong[these] == 0).mean())
            yield row

    def _empty(self) -> Iterator[dict[str, Any]]:
        """Rows without a number, and why."""
        about = {"interval_of": self._transcripts.left_out.of, "clips": len(self._study.clips)}
        about |= {"against": TEXT, "emotion": "", "note": self._transcripts.without_words}
        for quantity in ("wer", "cer"):
            for model in (*MODELS, "difference"):
                yield dict.fromkeys(COLUMNS, float("nan")) | about | {"quantity": quantity, "model": model}
