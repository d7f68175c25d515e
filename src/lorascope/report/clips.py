"""The clips of the page: what every test clip was answered with, and of some of them what they sound and look like."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..findings.scores import UNADAPTED
from ..store.finished import FinishedCell, FinishedRun

#: How many clips are embedded where nobody says how many.
AUDIO = 24


@dataclass(frozen=True)
class Sound:
    """What a reader hears and sees of a clip: the file as FLAC, `wave` [points], the largest sample of each stretch as
    a part of the largest of all, and `mel` [bands, columns], the log-mel spectrogram from 0 to 255, low bands first.
    """

    seconds: float
    flac: bytes
    wave: Sequence[float]
    mel: np.ndarray


def clip_table(folder: FinishedRun) -> pd.DataFrame:
    """A row a test clip of the analysed method (else of the first that adapts), of its first seed: clip, speaker,
    emotion, fold, predicted, confidence (probability of the answer), gold (that of the true class), and where there is
    a frozen head frozen, its answer. Empty where no cell was trained.
    """
    cells = folder.table1_cells
    adapted = [cell for cell in cells if cell.metrics["method"] not in UNADAPTED]
    name = folder.shown[0].name if folder.analyses else None
    main = [cell for cell in adapted if cell.metrics.get("name") == name] or adapted[:1]
    label = main[0].metrics["label"] if main else None
    answers = _answers(folder, [cell for cell in adapted if cell.metrics["label"] == label])
    if answers.empty:
        return answers
    frozen = [cell for cell in cells if cell.metrics["method"] in UNADAPTED]
    first = [cell for cell in frozen if cell.metrics["label"] == frozen[0].metrics["label"]]
    if first:
        other = _answers(folder, first).set_index("clip")["predicted"]
        answers["frozen"] = answers["clip"].map(other)
    return answers


def worth_hearing(folder: FinishedRun, count: int) -> list[str]:
    """The ids of at most `count` clips: those whose frames were looked at, then the surest errors and, as many, the
    surest right answers of every class.
    """
    table = clip_table(folder)
    frames = [unit.table("frame_lens") for unit in folder.shown] if folder.analyses else []
    chosen = list(dict.fromkeys(clip for frame in frames if frame is not None for clip in frame["clip"]))
    if len(table):
        chosen = [clip for clip in chosen if clip in set(table["clip"])]
        table = table.sort_values("confidence", ascending=False, kind="stable")
        wrong = table[table["emotion"] != table["predicted"]]["clip"].tolist()
        right = table[table["emotion"] == table["predicted"]]
        by_class = right.assign(place=right.groupby("emotion").cumcount()).sort_values("place", kind="stable")
        half = max(0, count - len(chosen)) // 2
        chosen += [*wrong[:half], *by_class["clip"].tolist(), *wrong[half:]]
    return list(dict.fromkeys(chosen))[:count]


def clips_data(folder: FinishedRun, sounds: Mapping[str, Sound]) -> dict[str, Any] | None:
    """The rows of all test clips and, by clip, what is known of its sound and frames, as plain data; None where no cell
    was trained and nothing can be heard.
    """
    table = clip_table(folder)
    if table.empty and not sounds:
        return None
    return {
        "task": folder.task,
        # a page on another task has no word of emotion
        "columns": ["truth" if column == "emotion" else str(column) for column in table],
        "rows": [[_plain(value) for value in row] for row in table.itertuples(index=False, name=None)],
        "sounds": {clip: _sound(sound) for clip, sound in sounds.items()},
        "frames": _frames(folder, set(sounds)),
    }


def _answers(folder: FinishedRun, cells: Sequence[FinishedCell]) -> pd.DataFrame:
    """The test clips of one method's cells, each fold with its first seed."""
    first: dict[str, FinishedCell] = {}
    for cell in cells:
        first.setdefault(str(cell.metrics["fold"]), cell)
    parts = []
    for cell in first.values():
        tested = folder.predictions(cell)
        classes = [str(column).removeprefix("logit_") for column in tested if str(column).startswith("logit_")]
        logits = tested[[f"logit_{name}" for name in classes]].to_numpy()
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        places = [np.array([classes.index(name) for name in tested[column]]) for column in ("predicted", "emotion")]
        parts.append(
            tested[["clip", "speaker", "emotion", "fold", "predicted"]].assign(
                confidence=chances[np.arange(len(tested)), places[0]],
                gold=chances[np.arange(len(tested)), places[1]],
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["clip"])


def _sound(sound: Sound) -> dict[str, Any]:
    bands, columns = sound.mel.shape
    return {
        "seconds": round(sound.seconds, 3),
        "flac": base64.b64encode(sound.flac).decode(),
        "wave": [round(float(value), 3) for value in sound.wave],
        "mel": [bands, columns, base64.b64encode(np.ascontiguousarray(sound.mel, dtype=np.uint8).tobytes()).decode()],
    }


def _frames(folder: FinishedRun, clips: set[str]) -> dict[str, Any]:
    """Of each clip whose frames were looked at, by model, the probability of its class at [depth, frame] as bytes."""
    found: dict[str, Any] = {}
    for unit in folder.shown if folder.analyses else ():
        table = unit.table("frame_lens")
        if table is None:
            continue
        table = table[table["clip"].isin(clips) & (table["class"] == table["emotion"])]
        for (clip, model), rows in table.groupby(["clip", "model"], sort=False):
            grid = rows.pivot(index="depth", columns="frame", values="probability").to_numpy()
            told = np.nan_to_num(255 * grid).astype(np.uint8)
            entry = [*told.shape, base64.b64encode(told.tobytes()).decode()]
            found.setdefault(str(clip), {}).setdefault(str(model), entry)
    return found


def _plain(value: Any) -> str | float | None:
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 3)
    return None if value is None or value is pd.NA else str(value)
