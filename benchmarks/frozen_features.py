"""How far the frozen encoder's last layer reaches on its own: standardised logistic regression, leave one speaker out.

Prints the pooled UAR for three ways of pooling. Nothing is chosen: scikit-learn's default C = 1, and no validation
speaker is needed. Usage: python benchmarks/frozen_features.py [CORPUS] [BACKBONE]
"""

import sys

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lorascope
from lorascope.models.classifier import masked_mean
from lorascope.sound.context import context_frames
from lorascope.sound.features import WINDOW
from lorascope.statistics.stats import unweighted_average_recall
from lorascope.work.sources import prepare

corpus = lorascope.load_corpus(sys.argv[1] if len(sys.argv) > 1 else "emodb")
backbone = lorascope.load_backbone(sys.argv[2] if len(sys.argv) > 2 else "whisper-tiny.en")
clips = [clip.features for clip in prepare(corpus, backbone).values()]
gold = np.array([corpus.classes.index(emotion) for emotion in corpus.clips["emotion"]])


@torch.no_grad()
def pooled(frames, valid):
    """Encoder output of every clip for windows of `frames(clip)`, pooled over the first
    `valid(clip)` frames, [clips, width].
    """
    rows = []
    for clip in clips:
        hidden = backbone.model.encode(torch.as_tensor(clip.window(frames(clip)))[None])
        rows.append(masked_mean(hidden, torch.tensor([valid(clip)]))[0].numpy())
    return np.stack(rows)


for name, frames, valid in (
    (
        "trim: window of the clip, pooled over speech",
        lambda clip: context_frames(clip.valid, "trim"),
        lambda clip: clip.valid,
    ),
    ("full: window of 30 s, pooled over all frames", lambda clip: WINDOW, lambda clip: WINDOW),
    ("window of 30 s, pooled over speech", lambda clip: WINDOW, lambda clip: clip.valid),
):
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    predicted = cross_val_predict(
        probe, pooled(frames, valid), gold, groups=corpus.clips["speaker"], cv=LeaveOneGroupOut()
    )
    print(f"{name}: pooled UAR {unweighted_average_recall(gold, predicted, len(corpus.classes)):.3f}")
