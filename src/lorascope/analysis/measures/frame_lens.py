"""Where in time the answer comes from: the head on single frames, at every depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from ...errors import LorascopeError
from ...statistics.intervals import LeftOut
from ..measure import Batch, Part, Replay, Study

#: Pieces of a clip's pooled frames, equally long, from beginning to end.
BINS = 10
#: Shuffles of a clip's frames.
DRAWS = 100
#: Clips a class whose frames are told one by one.
SHOWN = 1

FRAMES = ["model", "clip", "emotion", "depth", "frame", "class", "probability", "share"]
PROFILE = ["model", "depth", "bin", "share", "share_low", "share_high", "null", "null_low", "null_high"]
PROFILE += ["interval_of", "clips"]
FOCUS = ["model", "depth", "focus", "focus_low", "focus_high", "margin", "margin_low", "margin_high"]
FOCUS += ["interval_of", "clips"]


class FrameLens:
    """The model's head on each frame of the stream at depth 0 to L, after the final LayerNorm.

    The head is linear and pools by the mean, so that at depth L the mean of the frames' logits is the model's logit
    and a frame's share z_t / T of it is exact; at lower depths the shares are those of the lens' logit. Frames are
    those that the head pools over. Models: frozen and trained, where they have a trained head.

    `compute` gives three tables. `frame_lens`: for the first clip of every class, model, clip, emotion, depth, frame,
    class, probability (softmax of the frame's logits) and share (logits; over frames they sum to the clip's logit).
    `frame_profile`: share of the margin (gold class' logit less the mean of the others) that comes from each tenth of
    the clip, mean over clips, 95 % intervals and what they speak of; null: with each clip's frames shuffled (mean and
    central 95 % of 100 draws), where time says nothing. `frame_focus`: focus, the share of frames, those with the
    largest contributions first, that would be enough for half of Σ|share| (.5: all alike; near 0: few frames decide),
    and the mean margin. Focus has no null: it says how even the shares are, and even noise isn't.

    Costs no forward beyond the pass; keeps clips x depths x frames x classes float32.
    """

    needs = frozenset({"head", "depth"})
    keys: ClassVar = {"frame_profile": ("model", "depth", "bin"), "frame_focus": ("model", "depth")}

    def __init__(self, study: Study) -> None:
        self._study = study
        #: (model, depth) -> row of the clip -> frames' logits [frames, classes]
        self._logits: dict[tuple[str, int], dict[int, np.ndarray]] = {}

    def parts(self, model: str) -> frozenset[str]:
        """The stream at every depth of both models."""
        asked = model in ("frozen", "trained") and model not in self._study.headless
        return frozenset({"resid_pre", "final_norm"} if asked else ())

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Apply the head to every frame that it pools over."""
        with torch.no_grad():
            normed = part.tensor if part.name == "final_norm" else part.final_norm(part.tensor)
            logits = part.head(normed)
        kept = self._logits.setdefault((part.model, part.layer), {})
        for row, own, count in zip(part.batch.numbers, logits.cpu().numpy(), pooled_frames(part.batch), strict=True):
            kept[row] = own[:count]

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `frame_lens`, `frame_profile` and `frame_focus`."""
        study = self._study
        self._refuse_broken()
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        profile, focus = [], []
        for (model, depth), of_clips in self._logits.items():
            margins = [
                contributions(of_clips[row].astype(float), label) for row, label in enumerate(study.labels.tolist())
            ]
            where = {"model": model, "depth": depth}
            about = {"interval_of": left_out.of, "clips": len(margins)}
            profile += [where | row | about for row in self._profile(margins, left_out)]
            values = np.array([[focus_of(each), each.sum()] for each in margins])
            low, high = left_out.ends(values.mean(axis=0), left_out.mean(values))
            named = {}
            for number, name in enumerate(("focus", "margin")):
                named |= {name: values[:, number].mean(), f"{name}_low": low[number], f"{name}_high": high[number]}
            focus.append(where | named | about)
        return {
            "frame_lens": pd.DataFrame(self._frames(), columns=FRAMES),
            "frame_profile": pd.DataFrame(profile, columns=PROFILE),
            "frame_focus": pd.DataFrame(focus, columns=FOCUS),
        }

    def _profile(self, margins: list[np.ndarray], left_out: LeftOut) -> Iterator[dict[str, Any]]:
        random = np.random.default_rng(self._study.seed)
        shares = np.array([binned(each) for each in margins])
        mean, (low, high) = shares.mean(axis=0), left_out.ends(shares.mean(axis=0), left_out.mean(shares))
        null = np.zeros((DRAWS, BINS))
        for each in margins:
            orders = random.permuted(np.tile(each, (DRAWS, 1)), axis=1)
            null += binned(orders) / len(margins)
        null_low, null_high = np.quantile(null, [0.025, 0.975], axis=0)
        for number in range(BINS):
            row = {"bin": number, "share": mean[number], "share_low": low[number], "share_high": high[number]}
            yield row | {
                **{"null": null[:, number].mean(), "null_low": null_low[number], "null_high": null_high[number]}
            }

    def _frames(self) -> Iterator[dict[str, Any]]:
        clips = self._study.clips
        shown = clips.groupby("label", sort=True).head(SHOWN).index
        for (model, depth), of_clips in self._logits.items():
            for row in shown:
                logits = of_clips[row].astype(float)
                probabilities, shares = softmax(logits, axis=1), logits / len(logits)
                where = {"model": model, "clip": clips["clip"][row], "depth": depth}
                where["emotion"] = self._study.classes[clips["label"][row]]
                for frame in range(len(logits)):
                    for number, name in enumerate(self._study.classes):
                        values = {"probability": probabilities[frame, number], "share": shares[frame, number]}
                        yield where | {"frame": frame, "class": name} | values

    def _refuse_broken(self) -> None:
        for (model, depth), of_clips in self._logits.items():
            for row, logits in of_clips.items():
                if not np.isfinite(logits).all():
                    raise LorascopeError(
                        f"frames of model {model} at depth {depth}: not finite for clip "
                        f"'{self._study.clips['clip'].iloc[row]}'; leave the clip out, or look for NaN in the adapter"
                    )


def pooled_frames(batch: Batch) -> list[int]:
    """How many frames of each clip the head pools over."""
    return batch.lengths if batch.pools_valid else [batch.frames] * len(batch.lengths)


def contributions(logits: np.ndarray, label: int) -> np.ndarray:
    """What each frame adds to the clip's margin (gold class' logit less the mean of the others), [frames], of
    [frames, classes].
    """
    gold = logits[:, label]
    others = (logits.sum(axis=1) - gold) / (logits.shape[1] - 1)
    return (gold - others) / len(logits)


def binned(shares: np.ndarray) -> np.ndarray:
    """Sums of [..., frames] over `BINS` equally long pieces, [..., BINS]; a frame on a border is shared out."""
    frames = shares.shape[-1]
    total = np.concatenate([np.zeros((*shares.shape[:-1], 1)), np.cumsum(shares, axis=-1)], axis=-1)
    edges = np.linspace(0, frames, BINS + 1)
    whole = np.minimum(edges.astype(int), frames - 1)
    at = total[..., whole] + (edges - whole) * shares[..., whole]
    return np.diff(at, axis=-1)


def focus_of(shares: np.ndarray) -> float:
    """The least share of frames whose |contributions| make half of all, [frames] to a number in (0, .5]; NaN where
    all are 0.
    """
    size = np.sort(np.abs(shares))[::-1]
    total = size.sum()
    if not total:
        return float("nan")
    running = np.concatenate([[0.0], np.cumsum(size)]) / total
    step = int(np.argmax(running >= 0.5 - 1e-12))
    return float((step - 1 + (0.5 - running[step - 1]) / (running[step] - running[step - 1])) / len(shares))
