"""Recognition: planted transcripts give the rates of a count by hand, and what is lacking is told."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from lorascope.analysis.analyse import cannot_be_had
from lorascope.analysis.batches import BatchLimits, Heard
from lorascope.analysis.means import Means
from lorascope.analysis.measure import Part, Study
from lorascope.analysis.measures.recognition import BARE, TEXT, Recognition
from lorascope.experiment.config import AnalysisConfig
from lorascope.models.families.known import parts_of
from lorascope.models.weights.backbone import load_backbone
from lorascope.sound.features import LogMel
from lorascope.work.sources import means_of

from ...tiny import plain_adapter

pytest.importorskip("jiwer")

CLASSES = ("anger", "sadness")
SAID = "Kids are talking by the door."
#: What is written, by the number that the planted encoder's output holds.
WRITTEN = [SAID, "kids are walking by the door", "", "Kids are talking by the door by the door"]


class Planted:
    """A decoder that writes the sentence whose number the encoder's output holds."""

    def __init__(self, english_only: bool = True) -> None:
        self.english_only, self.asked = english_only, []

    def code(self, language):
        return {"German": "de", "en": "en"}.get(language)

    def languages_of(self, encoded):
        return ["it"] * len(encoded)

    def transcribe(self, encoded, languages=None):
        self.asked.append(languages)
        return [WRITTEN[int(clip[0, 0])] for clip in encoded]


def tables(trained, frozen=None, decoder=None, **columns) -> dict[str, pd.DataFrame]:
    """The tables where the encoders' outputs are these numbers, a clip each."""
    count = len(trained)
    clips = pd.DataFrame({"clip": [f"c{i}" for i in range(count)], "speaker": [f"s{i // 2}" for i in range(count)]})
    clips = clips.assign(label=[i % 2 for i in range(count)], emotion=[CLASSES[i % 2] for i in range(count)], **columns)
    study = Study(clips, CLASSES, ("frozen", "trained"), 2, 8, (), {}, means=Means(decoder=decoder or Planted()))
    measure = Recognition(study)
    output = {"frozen": frozen or [0] * count, "trained": trained}
    assert not measure.parts("trained")
    for over in measure.passes():
        assert over.context == "full"
        mel = LogMel(torch.zeros(2, 40).numpy(), 20, 30)
        heard = Heard(over.clips, lambda _, mel=mel: mel, "full", BatchLimits(3), "cpu", True)
        for batch in heard.batches():
            assert batch.frames == 30
            for model in study.models:
                assert over.measure.parts(model) == {"final_norm"}
                made = torch.tensor([output[model][row] for row in batch.numbers], dtype=torch.float32)
                tensor, identity = made[:, None, None].expand(-1, 30, 8), torch.nn.Identity()
                over.measure.update(Part(model, "final_norm", 2, None, tensor, batch, identity, identity))
    return measure.compute()


def rate(table: pd.DataFrame, quantity="wer", against=TEXT, model="trained", emotion="") -> pd.Series:
    keys = {"quantity": quantity, "against": against, "model": model, "emotion": emotion}
    for name, value in keys.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_rates_are_errors_over_all_words():
    table = tables([1, 0, 2, 0, 3, 0, 0, 0], transcript=[SAID] * 8)["recognition"]
    # one substitution, six deletions, three insertions, of 8 sentences of six words
    all_of_them = rate(table)
    assert all_of_them["rate"] == pytest.approx(10 / 48) and all_of_them["units"] == 48
    assert all_of_them["exact"] == 5 / 8 and all_of_them["interval_of"] == "speakers"
    assert all_of_them["rate_low"] < 10 / 48 < all_of_them["rate_high"]
    assert rate(table, emotion="anger")["rate"] == pytest.approx(10 / 24)
    assert rate(table, emotion="sadness")["rate"] == 0 < rate(table, emotion="sadness")["rate_high"]
    assert rate(table, model="frozen")["rate"] == 0
    difference = rate(table, model="difference")
    assert difference["rate"] == pytest.approx(10 / 48) and pd.isna(difference["exact"])
    # the bare encoder wrote what was said
    assert rate(table, against=BARE)["rate"] == pytest.approx(10 / 48)
    # talking, walking: a letter; everything; " by the door"
    assert rate(table, "cer")["errors"] == 1 + 28 + 12


def test_the_transcripts_are_kept_beside_the_words():
    table = tables([1, 0], text=[SAID, SAID])["transcripts"]
    assert table["trained"].tolist() == [WRITTEN[1], WRITTEN[0]] and table["text"].tolist() == [SAID, SAID]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({}, "no text of its clips"),
        ({"text": ["a01", "b02", "n4", "01"]}, "codes and not words"),
        ({"text": [SAID, None, SAID, SAID]}, "no text of 1 of 4"),
        ({"text": [SAID] * 4, "language": ["German"] * 4}, "knows English alone"),
    ],
)
def test_without_words_there_is_a_reason_and_between_the_transcripts_a_number(columns, reason):
    table = tables([1, 0, 0, 0], **columns)["recognition"]
    for model in ("frozen", "trained", "difference"):
        found = rate(table, model=model)
        assert pd.isna(found["rate"]) and reason in found["note"]
    assert rate(table, against=BARE)["rate"] == pytest.approx(1 / 24)


def test_where_the_bare_encoder_writes_nothing_there_is_no_rate():
    found = rate(tables([1, 0], frozen=[2, 2])["recognition"], against=BARE)
    assert pd.isna(found["rate"]) and "no word in the bare transcript" in found["note"]


def test_an_adapter_of_zeros_costs_nothing():
    table = tables([1, 0, 3, 0, 1, 0], frozen=[1, 0, 3, 0, 1, 0], text=[SAID] * 6)["recognition"]
    assert rate(table, against=BARE)["rate"] == 0 and rate(table, model="difference")["rate"] == 0
    assert rate(table)["rate"] == rate(table, model="frozen")["rate"] > 0


def test_one_speaker_and_one_clip():
    table = tables([1, 0], text=[SAID] * 2)["recognition"]
    assert rate(table)["interval_of"] == "these clips"
    assert pd.isna(rate(tables([1], text=[SAID])["recognition"])["rate_low"])


def test_languages_are_the_corpus_or_heard_once_with_the_bare_encoder():
    decoder = Planted(english_only=False)
    tables([0, 0, 0], decoder=decoder, text=[SAID] * 3, language=["German", None, "Klingon"])
    assert decoder.asked == [["de", "it", "it"]] * 2


def test_without_a_decoder_it_is_left_out_with_the_reason(backbone_folder):
    config = AnalysisConfig(measures=("recognition", "contribution"))
    base = load_backbone(str(backbone_folder))
    missing = means_of(config, {}, None, base).missing
    left_out = cannot_be_had(config.measures, parts_of(plain_adapter(base.model, 0)), True, missing)
    assert list(left_out) == ["recognition"] and "holds no decoder" in left_out["recognition"]


def test_without_jiwer_a_line_names_the_extra(backbone_folder, monkeypatch):
    import importlib.util

    from lorascope.errors import LorascopeError

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jiwer" else there(name))
    with pytest.raises(LorascopeError, match=r"lorascope\[recognition\]"):
        means_of(AnalysisConfig(measures=("recognition",)), {}, None, load_backbone(str(backbone_folder)))
