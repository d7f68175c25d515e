"""The clips of the page: answers as they were predicted, those worth hearing, and sounds that are the analysed ones."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lorascope.api.sounds import sound_of, sounds_of
from lorascope.errors import LorascopeError
from lorascope.report.clips import clip_table, clips_data, worth_hearing
from lorascope.store.finished import FinishedRun

from .folders import make_analysis, make_run

RATE = 16_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("clips") / "run")


def test_every_test_clip_has_its_answer_and_its_probability(run: Path) -> None:
    folder = FinishedRun(run)
    table = clip_table(folder)
    cells = [cell for cell in folder.table1_cells if cell.metrics["method"] == "lora"]
    stored = pd.concat([folder.predictions(cell) for cell in cells])
    assert sorted(table["clip"]) == sorted(stored["clip"]) and table["clip"].is_unique
    row = stored.iloc[3]
    logits = row[[column for column in stored if column.startswith("logit_")]].astype(float)
    chances = np.exp(logits) / np.exp(logits).sum()
    told = table.set_index("clip").loc[row["clip"]]
    assert told["predicted"] == row["predicted"] and told["gold"] == pytest.approx(chances[f"logit_{row['emotion']}"])
    assert told["confidence"] == pytest.approx(chances[f"logit_{row['predicted']}"])
    frozen = next(cell for cell in folder.table1_cells if cell.metrics["method"] == "frozen")
    other = folder.predictions(frozen).set_index("clip")["predicted"]
    assert all(table.set_index("clip")["frozen"][clip] == answer for clip, answer in other.items())


def test_worth_hearing_are_the_surest_errors_and_right_answers_of_every_class(run: Path) -> None:
    folder = FinishedRun(run)
    table = clip_table(folder).set_index("clip")
    chosen = worth_hearing(folder, 12)
    assert len(chosen) == len(set(chosen)) == 12 and worth_hearing(folder, 0) == []
    wrong = [clip for clip in chosen if table["emotion"][clip] != table["predicted"][clip]]
    all_wrong = table[table["emotion"] != table["predicted"]]["confidence"].sort_values(ascending=False)
    assert wrong == list(all_wrong.index[: len(wrong)]) and wrong
    assert {table["emotion"][clip] for clip in chosen if clip not in wrong} == set(table["emotion"])


def test_a_sound_can_be_heard_again_as_it_was() -> None:
    time = np.arange(RATE) / RATE
    samples = (0.5 * np.sin(2 * np.pi * 1000 * time) * (time > 0.5)).astype(np.float32)
    sound = sound_of(samples)
    heard, rate = soundfile.read(io.BytesIO(sound.flac))
    assert rate == RATE and sound.seconds == 1 and np.abs(heard - samples).max() < 1e-4
    assert max(sound.wave) == 1 and max(sound.wave[: len(sound.wave) // 2 - 1]) == 0
    loud = sound.mel[:, 3 * sound.mel.shape[1] // 4].astype(int)
    # 1 kHz is a third of the way up the mels of 8 kHz
    assert loud.argmax() == pytest.approx(len(loud) * 1000 / 2840, abs=2) and sound.mel[:, 5].max() < loud.max() - 100
    assert sound_of(samples[:5]).mel.shape[1] >= 1


def test_only_clips_that_were_analysed_are_heard(tmp_path: Path) -> None:
    run, said = make_run(tmp_path / "run"), []
    clips = clip_table(FinishedRun(run))["clip"].tolist()
    lines = ["id,path,speaker,emotion"]
    for number, clip in enumerate(clips):
        soundfile.write(tmp_path / f"{number}.wav", np.sin(np.arange(8000) * (0.1 + 0.01 * number)), RATE)
        lines.append(f"{clip},{tmp_path}/{number}.wav,s{number % 4},{'anger' if number % 2 else 'sadness'}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    config = {"name": "a", "backbone": {"name": "whisper-tiny.en"}, "methods": {"frozen": {"learning_rate": 1e-3}}}
    corpus = {"reader": "csv", "root": str(tmp_path / "clips.csv"), "classes": ["anger", "sadness"]}
    (run / "config.yaml").write_text(json.dumps(config | {"corpus": corpus}))
    folder = FinishedRun(run)
    assert sounds_of(folder, None, said.append) == {} == sounds_of(folder, 0, said.append) and said == []
    # the manifest's hashes are of other sounds
    assert sounds_of(folder, 3, said.append) == {}
    assert said == ["3 of 3 clips can't be heard in the report: gone, or not those that were analysed"]


def test_without_a_configuration_it_is_told_and_without_cells_there_is_no_table(tmp_path: Path) -> None:
    folder = FinishedRun(make_analysis(tmp_path / "run"))
    assert clips_data(folder, {}) is None and clip_table(folder).empty
    (tmp_path / "run" / "config.yaml").unlink(missing_ok=True)
    with pytest.raises(LorascopeError, match=r"--audio 3: .* has no config\.yaml"):
        sounds_of(FinishedRun(tmp_path / "run"), 3, print)
    data = clips_data(FinishedRun(make_run(tmp_path / "cells")), {"x": sound_of(np.ones(1000, np.float32))})
    assert data["columns"][:3] == ["clip", "speaker", "truth"] and len(data["rows"]) > 20
    assert base64.b64decode(data["sounds"]["x"]["flac"])[:4] == b"fLaC"
    json.dumps(data, allow_nan=False)
