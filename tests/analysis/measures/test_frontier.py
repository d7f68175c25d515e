"""The frontier: every setting is the model turned by hand; choices are shown on speakers that they were not made on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorascope.analysis.batches import BatchLimits, batches_of
from lorascope.analysis.means import Means
from lorascope.analysis.measures.frontier import INTACT, SETTINGS, Frontier, choice
from lorascope.analysis.one_pass import trace
from lorascope.analysis.states import ModelStates
from lorascope.analysis.study import study_of
from lorascope.models.interventions import Intervention, intervened
from lorascope.statistics.pareto import frontier
from lorascope.statistics.stats import unweighted_average_recall

from ...statistics.test_error_rates import distance
from ...tiny import CLASSES
from ..small import FRAMES, LAYERS, Small

pytest.importorskip("jiwer")

WORDS = 12


class Signs:
    """A decoder that writes for each of the first frames a word by its largest unit."""

    english_only = True

    def code(self, language):
        return None

    def transcribe(self, encoded, languages=None):
        return [" ".join(f"w{int(unit)}" for unit in clip[:WORDS].argmax(dim=-1)) for clip in encoded]


def play(small: Small, **columns):
    clips = small.clips.assign(**columns)
    states = ModelStates(small.parts, small.head, ("norm-matched",))
    measure = Frontier(study_of(states, clips, CLASSES, seed=42, draws=50, means=Means(decoder=Signs())))
    sounds = dict(zip(clips["clip"], small.sounds, strict=True))

    def batches():
        return batches_of(clips, lambda clip, _: sounds[clip], dict.fromkeys(sounds, 40), BatchLimits(6), True)

    trace(states, batches(), [measure])
    for over in measure.passes():
        assert over.context == "full"
        trace(states, batches(), [over.measure])
    return measure, measure.compute()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def played(small):
    return play(small)


def by_hand(small: Small, gains) -> tuple[float, list[str]]:
    """UAR and transcripts of the whole model with its updates turned, all clips in one forward."""
    with torch.no_grad(), intervened(small.parts, Intervention(gains=gains)):
        encoded = small.parts.classifier.encode(torch.stack(small.sounds))
        predicted = small.logits().argmax(dim=1).numpy()
    return unweighted_average_recall(small.labels.numpy(), predicted, 4), Signs().transcribe(encoded)


def bare(small: Small) -> list[str]:
    with torch.no_grad(), small.parts.adapter(on=False):
        return Signs().transcribe(small.parts.classifier.encode(torch.stack(small.sounds)))


@pytest.mark.parametrize("ends", [(0.5, 0.5), (1.0, 1.0), (1.5, 1.5), (0.0, 1.0), (1.0, 0.5)])
def test_a_setting_is_the_model_turned_by_hand(small, played, ends):
    gains = {key: ends[0] + (ends[1] - ends[0]) * key[0] / (LAYERS - 1) for key in small.parts.adapted()}
    uar, texts = by_hand(small, gains)
    table = played[1]["frontier"]
    row = table[(table["alpha"] == ends[0]) & (table["last_alpha"] == ends[1]) & (table["share"] == 1)].iloc[0]
    assert row["uar"] == pytest.approx(uar)
    pairs = [(own.split(), other.split()) for own, other in zip(bare(small), texts, strict=True)]
    assert row["wer"] == pytest.approx(np.mean([distance(*pair) for pair in pairs]) / WORDS)
    assert row["against"] == "bare transcript"


def test_off_costs_nothing_and_the_whole_adapter_changes_nothing(played):
    table = played[1]["frontier"]
    assert len(table) == len(SETTINGS)
    off = table[(table["dial"] == "whole") & (table["alpha"] == 0)].iloc[0]
    assert off["wer"] == 0
    whole = table[(table["dial"] == "whole") & (table["alpha"] == 1)].iloc[0]
    assert whole["delta_uar"] == whole["delta_wer"] == 0 and whole["wer"] > 0
    assert whole["delta_wer_low"] == whole["delta_wer_high"] == 0
    # half of the directions at half of the scale is neither of both alone
    both = table[(table["dial"] == "rank and whole") & (table["share"] == 0.5) & (table["alpha"] == 0.5)].iloc[0]
    assert 0 < both["wer"] < whole["wer"]


def test_the_pareto_set_is_what_nothing_beats(played):
    table = played[1]["frontier"]
    for row in table.itertuples():
        beaten = (table["uar"] >= row.uar) & (table["wer"] <= row.wer)
        beaten &= (table["uar"] > row.uar) | (table["wer"] < row.wer)
        assert row.pareto == (not beaten.any())


def test_what_is_not_known_is_on_no_frontier():
    gain, cost = np.array([0.9, np.nan, 0.5]), np.array([0.3, 0.0, np.nan])
    assert frontier(gain, cost).tolist() == [True, False, False]


def test_the_rules_of_choice():
    uar, wer = np.array([0.80, 0.79, 0.785, 0.70]), np.array([0.5, 0.2, 0.1, 0.0])
    assert choice(uar, wer, "spared") == 2 and choice(uar, wer, "best UAR") == 0
    assert choice(np.array([0.8, 0.8]), np.array([0.2, 0.1]), "best UAR") == 1


def test_choices_are_made_on_the_other_speakers(small, played):
    measure, tables = played
    labels, speakers = small.labels.numpy(), small.clips["speaker"].to_numpy()
    logits = {setting: measure._answers.logits(setting) for setting in SETTINGS}
    rates = {setting: measure._transcripts.rate(counts) for setting, counts in measure._counts()[1].items()}
    predicted, chosen = np.zeros(len(labels), dtype=int), []
    for unit, speaker in enumerate(np.unique(speakers)):
        rest = speakers != speaker
        uar = [unweighted_average_recall(labels[rest], logits[s][rest].argmax(axis=1), 4) for s in SETTINGS]
        best = choice(np.array(uar), np.array([rates[s][1 + unit] for s in SETTINGS]), "best UAR")
        predicted[~rest] = logits[SETTINGS[best]][~rest].argmax(axis=1)
        chosen.append(best)
    row = tables["frontier_chosen"].set_index("rule").loc["best UAR"]
    assert row["uar"] == pytest.approx(unweighted_average_recall(labels, predicted, 4))
    assert row["settings"] == len(set(chosen)) and f"of {len(chosen)})" in row["most_chosen"]
    assert row["uar_low"] <= row["uar"] <= row["uar_high"]


def test_one_speaker_gives_no_choice_and_the_reason(small):
    _, tables = play(small, speaker="ann", text="w1 w2 w3")
    chosen = tables["frontier_chosen"]
    assert chosen[["uar", "wer"]].isna().all(axis=None) and chosen["note"].str.contains("too few speakers").all()
    assert set(tables["frontier"]["against"]) == {"text"} and tables["frontier"]["wer"].notna().all()


def test_an_adapter_of_zeros_is_one_point(tmp_path):
    small = Small(tmp_path)
    with torch.no_grad():
        for key in small.parts.adapted():
            small.parts.factors(*key)[1].zero_()
    table = play(small)[1]["frontier"]
    assert (table["wer"] == 0).all() and (table["delta_uar"] == 0).all() and (table["pareto"] == 1).all()
    assert INTACT in SETTINGS and len(FRAMES) == len(small.clips)
