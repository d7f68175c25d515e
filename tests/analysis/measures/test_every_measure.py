"""What holds of all measures alike: no gauge changes their numbers, and bad input gives none."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lorascope.analysis.analyse import cannot_be_had
from lorascope.analysis.batches import BatchLimits, batches_of
from lorascope.analysis.means import Means
from lorascope.analysis.measures import MEASURES, counterfactual, frontier
from lorascope.analysis.one_pass import trace
from lorascope.analysis.states import ModelStates
from lorascope.analysis.study import study_of

from ...tiny import CLASSES
from ..small import Small
from .test_dial import rotated
from .test_frontier import Signs

pytest.importorskip("jiwer")

#: Numbers of A and B themselves, which a gauge may well change; of spectra only some rows are (`free_of_gauge`).
OF_FACTORS = ("ranks", "cka")
MEASURED = [name for name in MEASURES if name not in OF_FACTORS]
#: Those beyond the paper's, whose own tests have its bad input.
DEPTH = [name for name in MEASURED if name not in ("contribution", "lens", "spectra")]
#: What some measures need beside the encoder.
LACKING = frozenset({"head", "sounds", "decoder"})
TARGETS = ("f0_mean", "f0_range", "loudness", "rate")


class Every(Small):
    """A small model of which every measure is taken, with its own passes, of clips of some classes."""

    def __init__(self, folder, classes=2, **columns):
        super().__init__(folder, targets=("v_proj", "fc1"))
        self.of_clip = dict(zip(self.clips["clip"], self.sounds, strict=True))
        self.clips = self.clips[self.clips["label"] < classes].reset_index(drop=True)
        given = {name: np.arange(len(self.clips)) + 0.5 for name in TARGETS}
        given["text"] = [f"w{row % 3} w1" for row in range(len(self.clips))]
        self.clips = self.clips.assign(**(given | columns))
        self.median = 120.0

    def tables(self, *names, head=True, **settings):
        def changed(clip, change):
            torch.manual_seed(len(repr(change)))
            return self.of_clip[clip] + 0.3 * torch.randn_like(self.of_clip[clip])

        def batches(clips, of):
            lengths = dict.fromkeys(clips["clip"], 40)
            return batches_of(clips, lambda clip, _: of(clip), lengths, BatchLimits(16), True)

        sounds = SimpleNamespace(medians=lambda clips: dict.fromkeys(clips, self.median), features=changed)
        states = ModelStates(self.parts, self.head, ())
        study = study_of(states, self.clips, CLASSES, seed=42, draws=10, means=Means(sounds, Signs()))
        measures = {name: MEASURES[name](study) for name in names}
        trace(states, batches(study.clips, self.of_clip.get), list(measures.values()))
        for measure in measures.values():
            for over in measure.passes() if hasattr(measure, "passes") else ():
                trace(states, batches(over.clips, over.features or self.of_clip.get), [over.measure])
        return {stem: table for measure in measures.values() for stem, table in measure.compute().items()}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Of each dial and change some, as all are alike."""
    kept = [frontier.INTACT, frontier.Setting("whole", 0.0, 0.0, 1.0), *frontier.SETTINGS[-2:]]
    monkeypatch.setattr(frontier, "SETTINGS", tuple(kept))
    monkeypatch.setattr(counterfactual, "CHANGES", {"flat F0": counterfactual.CHANGES["flat F0"]})


def free_of_gauge(stem: str, table: pd.DataFrame) -> pd.DataFrame:
    if stem in ("spectra", "spectra_summary"):
        balanced, of_b = table["variant"] == "corrected-balanced", table["factor"] == "B"
        # as the released notebook shows it, B's gradient is A's
        return table[balanced | (of_b & (table["variant"] != "released"))]
    return table


@pytest.mark.slow
def test_no_gauge_changes_a_number_of_any_measure(tmp_path):
    small = Every(tmp_path, classes=4)
    before, after = small.tables(*MEASURED), rotated(small, *MEASURED)
    assert set(before) == set(after) and len(before) > 20
    for stem, table in before.items():
        one, other = (free_of_gauge(stem, each).select_dtypes("number") for each in (table, after[stem]))
        assert len(one) and one.shape == other.shape, stem
        np.testing.assert_allclose(other, one, rtol=2e-3, atol=2e-3, equal_nan=True, err_msg=stem)


def ends_of(table: pd.DataFrame):
    """Both ends of every interval that is no null's."""
    for column in table:
        if column.endswith("_low") and not column.startswith("null"):
            yield column, table[column], table[f"{column[:-4]}_high"]


@pytest.mark.slow
def test_one_clip_has_no_interval_and_no_warning_of_arithmetic(tmp_path):
    small = Every(tmp_path)
    small.clips = small.clips.iloc[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        tables = small.tables(*DEPTH)
    for stem, table in tables.items():
        for column, low, high in ends_of(table):
            # what is compared with itself is certain, whatever the clips
            assert (low.isna() | (low == high)).all(), (stem, column)
    assert tables["probes"].empty and len(tables["probe_reasons"]) >= len(TARGETS)
    assert tables["frontier_chosen"][["uar", "wer"]].isna().all(axis=None)
    assert tables["rank_dial_least"]["share"].isna().all() and tables["dial_depth"]["blocks"].isna().all()


@pytest.mark.slow
def test_one_speaker_speaks_of_these_clips_alone(tmp_path):
    tables = Every(tmp_path, speaker="ann").tables(*DEPTH)
    told = {stem: set(table["interval_of"]) for stem, table in tables.items() if "interval_of" in table}
    assert len(told) > 10 and not any("speakers" in words for words in told.values()), told
    probed = set(tables["probes"].get("target", ()))
    assert not probed & {"emotion", "speaker", *TARGETS}, "nobody else was left to hold out"
    assert tables["frontier_chosen"]["uar"].isna().all() and tables["frontier_blocks"].empty


@pytest.mark.slow
def test_an_adapter_of_zeros_moves_nothing_and_has_no_shares(tmp_path):
    small = Every(tmp_path)
    with torch.no_grad():
        for key in small.parts.adapted():
            small.parts.factors(*key)[1].zero_()
    tables = small.tables(*DEPTH)
    for stem in ("dial", "rank_dial", "frontier"):
        moved = tables[stem].filter(regex="^(delta_.*|kl|flipped)$")
        assert (moved.abs() < 1e-6).all(axis=None), stem
    for stem, column in (
        ("dial_depth", "blocks"),
        ("rank_dial_least", "share"),
        ("patching", "share"),
        ("weights", "stable_rank"),
    ):
        lost = tables[stem]
        assert lost[column].isna().all() and (lost["note"] != "").all(), stem
    for stem in ("weight_angles", "weight_directions", "intruders", "weight_spectra"):
        assert tables[stem].empty


def test_without_text_and_voicing_what_rests_on_them_is_told(tmp_path):
    small = Every(tmp_path, text=None, f0_mean=np.nan, f0_range=np.nan)
    small.median = np.nan
    tables = small.tables("counterfactual", "recognition", "frontier", "probes")
    changed = tables["counterfactual"]
    assert changed[["uar", "gold", "flipped"]].isna().all(axis=None) and (changed["note"] != "").all()
    heard = tables["recognition"]
    assert (heard.loc[heard["against"] == "text", "note"] == "the corpus has no text of its clips").all()
    assert heard.loc[heard["against"] == "text", "rate"].isna().all()
    assert set(tables["frontier"]["against"]) == {"bare transcript"}
    assert {"f0_mean", "f0_range", "sentence"} <= set(tables["probe_reasons"]["target"])


def test_without_sounds_decoder_or_head_measures_are_left_out_with_the_reason(tmp_path):
    small = Every(tmp_path)
    names = list(MEASURES)
    left_out = cannot_be_had(names, small.parts, False, Means().missing)
    assert set(left_out) == {name for name in names if getattr(MEASURES[name], "needs", frozenset()) & LACKING}
    only = cannot_be_had(names, small.parts, True, Means().missing)
    assert only == {
        "counterfactual": "the clips' sounds are not at hand",
        "recognition": "no decoder is at hand",
        "frontier": "no decoder is at hand",
    }
