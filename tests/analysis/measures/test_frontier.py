"""The frontier: every setting is the model turned by hand; choices are shown on speakers that they were not made on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorascope.analysis import block_steps
from lorascope.analysis.batches import BatchLimits, batches_of
from lorascope.analysis.block_steps import BlockSteps
from lorascope.analysis.means import Means
from lorascope.analysis.measures.frontier import BY_BLOCK, INTACT, SETTINGS, Frontier, choice
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
    written = 0

    def code(self, language):
        return None

    def transcribe(self, encoded, languages=None):
        self.written += len(encoded)
        return [" ".join(f"w{int(unit)}" for unit in clip[:WORDS].argmax(dim=-1)) for clip in encoded]


def play(small: Small, **columns):
    clips = small.clips.assign(**columns)
    states = ModelStates(small.parts, small.head, ("norm-matched",))
    measure = Frontier(study_of(states, clips, CLASSES, seed=42, draws=50, means=Means(decoder=Signs())))
    sounds = dict(zip(clips["clip"], small.sounds, strict=True))

    def batches(clips):
        return batches_of(clips, lambda clip, _: sounds[clip], dict.fromkeys(sounds, 40), BatchLimits(6), True)

    trace(states, batches(clips), [measure])
    measure.heard = []
    for over in measure.passes():
        trace(states, batches(over.clips), [over.measure])
        measure.heard.append((over.words, over.context, len(over.clips)))
    return measure, measure.compute()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def played(small):
    return play(small)


def answers_by_hand(small: Small, gains) -> tuple[np.ndarray, list[str]]:
    """Classes and transcripts of the whole model with its updates turned, all clips in one forward."""
    with torch.no_grad(), intervened(small.parts, Intervention(gains=gains)):
        encoded = small.parts.classifier.encode(torch.stack(small.sounds))
        predicted = small.logits().argmax(dim=1).numpy()
    return predicted, Signs().transcribe(encoded)


def by_hand(small: Small, gains) -> tuple[float, list[str]]:
    """UAR and transcripts likewise."""
    predicted, texts = answers_by_hand(small, gains)
    return unweighted_average_recall(small.labels.numpy(), predicted, 4), texts


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


def test_one_alpha_a_block_is_found_by_coordinate_steps_on_the_other_half_of_the_speakers(small, played):
    """The whole search again, with the whole model in one forward each time."""
    measure, tables = played
    labels, speakers = small.labels.numpy(), small.clips["speaker"].to_numpy()
    halves = [half.rows for half in measure._steps.halves]
    assert sorted([*halves[0], *halves[1]]) == list(range(len(labels)))
    assert not set(speakers[halves[0]]) & set(speakers[halves[1]])
    references = [text.split() for text in bare(small)]

    def answers(alphas):
        return answers_by_hand(small, {key: alphas[key[0]] for key in small.parts.adapted()})

    def worth(alphas, rows):
        predicted, texts = answers(alphas)
        wrong = [distance(references[row], texts[row].split()) for row in rows]
        return unweighted_average_recall(labels[rows], predicted[rows], 4), np.mean(wrong) / WORDS

    chosen = []
    for rows in halves:
        best, tried = (1.0,) * LAYERS, {}
        tried[best] = worth(best, rows)
        for layer in reversed(range(LAYERS)):
            for alpha in (0.0, 0.5):
                point = (*best[:layer], alpha, *best[layer + 1 :])
                tried[point] = worth(point, rows)
            best = list(tried)[choice(*np.array(list(tried.values())).T, "spared")]
        chosen.append(best)
    np.testing.assert_allclose(tables["frontier_blocks"]["alpha"], np.mean(chosen, axis=0))
    assert list(tables["frontier_blocks"]["lowest"]) == list(np.min(chosen, axis=0))
    predicted, wrong = np.zeros(len(labels), dtype=int), 0
    for rows, alphas in zip(halves, chosen[::-1], strict=True):
        own, texts = answers(alphas)
        predicted[rows] = own[rows]
        wrong += sum(distance(references[row], texts[row].split()) for row in rows)
    row = tables["frontier_chosen"].set_index("rule").loc[BY_BLOCK]
    assert row["uar"] == pytest.approx(unweighted_average_recall(labels, predicted, 4))
    assert row["wer"] == pytest.approx(wrong / len(labels) / WORDS)
    assert row["settings"] == len(set(chosen)) and row["wer_low"] <= row["wer"] <= row["wer_high"]
    assert set(np.concatenate(chosen)) != {1.0}, "a search that goes nowhere shows nothing"


def test_what_the_coordinate_steps_cost(small, played, monkeypatch):
    measure, _ = played
    words, contexts, clips = zip(*measure.heard, strict=True)
    half = len(small.clips) / 2
    # of each block and half one pass of each context, and of each half one to show; never a clip of the other half
    assert words[1:] == ("α by block",) * 4 * (LAYERS + 1) and set(clips[1:]) == {half}
    assert contexts[1:] == (None, "full") * 2 * (LAYERS + 1)
    # 28 decodings of the settings, two of each step, and one to show
    decoder = measure._study.means.decoder
    assert decoder.written == len(small.clips) * (28 + 2 * LAYERS + 1)
    monkeypatch.setattr(block_steps, "MOST_STEPS", 2)
    steps = BlockSteps(measure._study, measure._found, measure._answers, measure._transcripts, choice, INTACT, BY_BLOCK)
    assert steps.groups == [[0, 1], [2]]


def test_one_speaker_gives_no_choice_and_the_reason(small):
    _, tables = play(small, speaker="ann", text="w1 w2 w3")
    chosen = tables["frontier_chosen"]
    assert chosen[["uar", "wer"]].isna().all(axis=None) and chosen["note"].str.contains("too few speakers").all()
    assert list(chosen["rule"]) == ["spared", "best UAR", BY_BLOCK] and tables["frontier_blocks"].empty
    assert set(tables["frontier"]["against"]) == {"text"} and tables["frontier"]["wer"].notna().all()


def test_an_adapter_of_zeros_is_one_point(tmp_path):
    small = Small(tmp_path)
    with torch.no_grad():
        for key in small.parts.adapted():
            small.parts.factors(*key)[1].zero_()
    table = play(small)[1]["frontier"]
    assert (table["wer"] == 0).all() and (table["delta_uar"] == 0).all() and (table["pareto"] == 1).all()
    assert INTACT in SETTINGS and len(FRAMES) == len(small.clips)
