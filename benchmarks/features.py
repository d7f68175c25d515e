"""From files to features: decoding, log-mels, and a second run that reads the cache; whether any
of it holds training up.

python benchmarks/features.py [--clips 100]
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from material import backbone_of, corpus_of
from measure import arguments, goal, in_turn

from lorascope.experiment.methods import LoraConfig
from lorascope.machine.devices import device
from lorascope.models.adapters.building import adapt
from lorascope.sound.decoding import Clip, load_audio, prepare_clips
from lorascope.training.data import ClipDataset, LengthBatches, collate


def same(one: dict[str, Clip], other: dict[str, Clip], frames: int = 1500) -> bool:
    """Whether two readings gave exactly the same features."""
    return list(one) == list(other) and all(
        clip.hash == other[name].hash
        and clip.features.valid == other[name].features.valid
        and np.array_equal(clip.features.window(frames), other[name].features.window(frames))
        for name, clip in one.items()
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments(__doc__ or "", argv, clips=64)
    corpus = corpus_of(given)
    name = given.backbone or ("random-mini" if given.quick else "whisper-tiny.en")
    backbone = backbone_of(name, corpus.classes)
    table = corpus.clips
    rows = np.unique(np.linspace(0, len(table) - 1, min(given.clips, len(table))).astype(int))
    pieces = [(str(table.index[row]), str(table["path"].iloc[row]), None, None) for row in rows]
    sounds = {clip: load_audio(path) for clip, path, *_ in pieces}
    count, read = len(pieces), {}
    print(f"{count} clips, {np.mean([len(sound) for sound in sounds.values()]) / 16_000:.2f} s on average; {name}")

    def first() -> None:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["LORASCOPE_CACHE"] = cache
            read["first"] = prepare_clips(pieces, backbone.features)

    with tempfile.TemporaryDirectory() as kept:

        def second() -> None:
            os.environ["LORASCOPE_CACHE"] = kept
            read["second"] = prepare_clips(pieces, backbone.features)

        model: Any = adapt(backbone.model, LoraConfig(), 0).to(device()).train()

        def epoch() -> None:
            data = ClipDataset(list(sounds), dict.fromkeys(sounds, 0), read["second"], given.context)
            for indices in LengthBatches(data.lengths, 8, 0):
                batch = {key: value.to(device()) for key, value in collate([data[i] for i in indices]).items()}
                with torch.autocast(device(), torch.bfloat16, enabled=device() == "cuda"):
                    model(**batch).loss.backward()

        before = os.environ.get("LORASCOPE_CACHE")
        try:
            took = in_turn(
                {
                    "decode": lambda: [load_audio(path) for _, path, *_ in pieces],
                    "log-mel": lambda: [backbone.features.extract(sound) for sound in sounds.values()],
                    "first run": first,
                    "second run": second,
                    "one epoch of LoRA": epoch,
                },
                given.rounds,
            )
        finally:
            os.environ.pop("LORASCOPE_CACHE") if before is None else os.environ.update(LORASCOPE_CACHE=before)
    for what, timing in took.items():
        print(
            f"{what:18s} {count / timing.wall:8.1f} clips/s (spread {timing.spread:.0%}; "
            f"{count / timing.cpu:.1f} a CPU second)"
        )
    if not same(read["first"], read["second"]):
        raise SystemExit("the cache gave other features than were put into it")
    print("the cache gives exactly the features that were computed")
    wall, cpu = took["first run"].over(took["second run"])
    goal("features: reading the cache over computing", wall, at_least=5, note=f"CPU seconds {cpu:.3g}x")
    epochs = LoraConfig().epochs
    wall, cpu = (100 * part / epochs for part in took["first run"].over(took["one epoch of LoRA"]))
    goal(
        f"features: first run against {epochs} epochs of LoRA on the same clips",
        wall,
        at_most=5,
        unit="%",
        note=f"CPU seconds {cpu:.3g} %; a run trains many folds on features made once",
    )


if __name__ == "__main__":
    main()
