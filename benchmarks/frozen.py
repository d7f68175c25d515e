"""Every head of a frozen encoder in all folds: from one cached pass of the encoder, against training each head through
the encoder; and that both give the same.

    python benchmarks/frozen.py [--epochs 20] [--folds 10]

The cached way is run whole, as `lorascope run` does it. Through the encoder one fold's head is trained for two epochs,
timed and compared; what all would take follows by counting the clips that would pass through the encoder (epochs of
training and selection clips for the heads trained step by step; every clip once a fold for those fitted at once).
"""

from __future__ import annotations

import cProfile
import os
import pstats
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import Material, material
from measure import arguments, goal, settle

from lorascope.corpora.folds.folds import Fold, make_folds
from lorascope.experiment.methods import SHALLOW_HEADS, FrozenConfig
from lorascope.experiment.planning import Cell
from lorascope.machine.devices import device
from lorascope.models.classifier import Head, initialise_head
from lorascope.store.folder import RunFolder
from lorascope.training.data import ClipDataset, PooledDataset
from lorascope.training.fit import Fit, fit
from lorascope.training.head_steps import fit_head
from lorascope.training.inputs import Inputs
from lorascope.training.passes import predict_clips
from lorascope.work.kinds.cell import run_cell

HEADS = ("last", "layer_sum", *SHALLOW_HEADS)
EPOCHS = 2
RATE = 3e-3


class Clock:
    """Seconds from its making to `stop`, wall clock and CPU; of the two `fair` is what another load on the machine
    doesn't touch (an accelerator has the wall clock only).
    """

    def __init__(self) -> None:
        settle()
        self._start = time.perf_counter(), time.process_time()
        self.wall = self.cpu = 0.0

    def stop(self) -> None:
        """Take the time."""
        settle()
        self.wall, self.cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]

    @property
    def fair(self) -> float:
        """CPU seconds where there is no accelerator, else wall seconds."""
        return self.wall if device() == "cuda" else self.cpu

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} s CPU)"


class Way:
    """One fold's head `last` trained for two epochs, through the encoder or from pooled outputs, on the same
    batches in the same order.
    """

    def __init__(self, clips: Material, fold: Fold, context: str, pooled: dict[str, np.ndarray] | None) -> None:
        backbone = clips.load()
        parts = [ClipDataset(ids, clips.labels, clips.clips, context) for ids in (fold.train, fold.validation)]
        self.model: Any = backbone.model.requires_grad_(False)
        self.trained: Any = self.model
        if pooled is not None:
            self.trained = Head(backbone.width, backbone.model.config.classifier_proj_size, len(clips.corpus.classes))
            datasets = [PooledDataset(np.stack([pooled[clip][-1] for clip in part.ids]), part.labels) for part in parts]
            for dataset, part in zip(datasets, parts, strict=True):
                # the cell mixes lengths in a batch, which no encoder could; here both ways take the same batches
                dataset.lengths = part.lengths
            parts = datasets
        initialise_head(self.trained, 42)
        self.head = [self.trained.projector, self.trained.classifier]
        for layer in self.head:
            layer.requires_grad_(True)
        settings = FrozenConfig(epochs=EPOCHS, learning_rate=(RATE,))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            self.clock = Clock()
            given = (self.trained, *parts, len(clips.corpus.classes), settings, RATE, 42, "fp32")
            self.fit: Fit = (
                fit(*given, root / "trainer", root / "log") if pooled is None else fit_head(*given, root / "log")
            )
            self.clock.stop()
        if pooled is not None:
            self.model.projector, self.model.classifier = self.head
        self.model.to(device())
        self.logits = predict_clips(self.model, fold.test, clips.clips, context, 8)


def largest_difference(one: Way, other: Way) -> float:
    """Largest difference between two ways: losses of the epochs, weights of the heads, logits of the test clips."""
    losses = [[epoch["loss"] for epoch in way.fit.history] for way in (one, other)]
    weights = [
        torch.cat([p.detach().flatten().cpu() for layer in way.head for p in layer.parameters()])
        for way in (one, other)
    ]
    pairs = [losses, [weight.numpy() for weight in weights], [one.logits, other.logits]]
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def from_cache(clips: Material, folds: Sequence[Fold], epochs: int, context: str) -> tuple[Clock, Clock, Inputs]:
    """Time of the one pass and of all heads in all folds from it, as a run does them."""
    inputs = Inputs(clips.clips, clips.labels, dict.fromkeys(clips.labels, ""), clips.load, device())
    encoding = Clock()
    inputs.pooled(context, 8)
    encoding.stop()
    fingerprint = clips.load().fingerprint
    heads = Clock()
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(folder)
        for head in HEADS:
            steps = {} if head in SHALLOW_HEADS else {"epochs": epochs, "learning_rate": (RATE,)}
            for fold in folds:
                method = FrozenConfig(head=head, **steps)
                cell = Cell(method, fold, clips.backbone, context, clips.corpus.classes, 256, "fp32", 42, name=head)
                seconds[head] += run_cell(cell, inputs, run, fingerprint)["seconds"]
    for head, took in seconds.items():
        print(f"  {head:12s} {took:.1f} s for {len(folds)} folds from the cached pass")
    heads.stop()
    return encoding, heads, inputs


def encoded(folds: Sequence[Fold], epochs: int) -> int:
    """Clips that pass through the encoder where every head of every fold is trained through it."""
    clips = 0
    for fold in folds:
        all_parts = len(fold.train) + len(fold.validation) + len(fold.test)
        by_steps = epochs * (len(fold.train) + len(fold.validation)) + len(fold.test)
        clips += sum(all_parts if head in SHALLOW_HEADS else by_steps for head in HEADS)
    return clips


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments(__doc__ or "", argv, epochs=20, folds=10, profile=False)
    clips = material(given)
    names = list(clips.clips)
    corpus = clips.corpus
    if len(names) < len(corpus.clips):
        raise SystemExit("--clips: folds need the whole corpus; leave it out, and give fewer --folds")
    folds = make_folds(corpus)[: given.folds]
    # PEFT's own, on encoders that came without a folder
    warnings.filterwarnings("ignore", message="Could not find a config file")
    before = os.environ.get("LORASCOPE_CACHE")
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LORASCOPE_CACHE"] = cache
        try:
            if given.profile:
                profiler.enable()
            encoding, heads, inputs = from_cache(clips, folds, given.epochs, given.context)
            profiler.disable()
            cached = Way(clips, folds[0], given.context, inputs.pooled(given.context, 8))
        finally:
            os.environ.pop("LORASCOPE_CACHE") if before is None else os.environ.update(LORASCOPE_CACHE=before)
    if given.profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(60)
    through = Way(clips, folds[0], given.context, None)
    passed = EPOCHS * (len(folds[0].train) + len(folds[0].validation))
    per_clip = through.clock.fair / passed
    whole, ours = encoded(folds, given.epochs) * per_clip, encoding.fair + heads.fair
    print(f"one pass over {len(names)} clips {encoding}, then {len(HEADS)} heads in {len(folds)} folds {heads}")
    print(
        f"through the encoder: fold {folds[0].name}, {EPOCHS} epochs {through.clock}, {1000 * per_clip:.1f} ms a clip; "
        f"all would pass {encoded(folds, given.epochs)} clips: {whole:.0f} s"
    )
    print(
        f"the same {EPOCHS} epochs of that head from pooled outputs: {cached.clock}, "
        f"{through.clock.fair / cached.clock.fair:.0f}x faster"
    )
    apart = largest_difference(cached, through)
    same = bool((cached.logits.argmax(1) == through.logits.argmax(1)).all())
    print(
        f"largest difference of losses, weights and test logits: {apart:.1e}; predictions "
        f"{'equal' if same else 'NOT equal'}"
    )
    goal("frozen: equal results, largest difference", apart, at_most=1e-3, unit="")
    goal(
        f"frozen: {len(folds)} folds of {len(HEADS)} heads, cached pass over through the encoder",
        whole / ours,
        at_least=30,
        note=(
            f"{given.epochs} epochs; {ours:.0f} s against {whole:.0f} s, scaled from {passed} clips measured; "
            f"{'wall' if device() == 'cuda' else 'CPU'} seconds"
        ),
    )


if __name__ == "__main__":
    main()
