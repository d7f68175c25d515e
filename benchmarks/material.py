"""What the benchmarks run on: clips of a corpus, and backbones, also random ones in the published shapes.

The corpus is EmoDB where $LORASCOPE_CORPORA holds it, else the synthetic one; with `--quick` it is noise. A backbone is
any that lorascope loads, or `random-SHAPE`: random weights stand in for real ones where those can't be had, since cost
depends on shape, not on skill.
"""

from __future__ import annotations

import argparse
import atexit
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

import lorascope
from lorascope.corpora import Corpus
from lorascope.models.weights.backbone import Backbone
from lorascope.sound.decoding import Clip
from lorascope.work.sources import prepare

logging.disable_progress_bar()
CLASSES = ("anger", "happiness", "neutrality", "sadness")
#: Whisper's published shapes: width, layers, heads, mel bins. "mini" is nobody's: it is for --quick.
WHISPER = {
    "mini": (32, 2, 2, 80),
    "tiny": (384, 4, 6, 80),
    "base": (512, 6, 8, 80),
    "small": (768, 12, 12, 80),
    "medium": (1024, 24, 16, 80),
    "large-v2": (1280, 32, 20, 80),
    "large-v3": (1280, 32, 20, 128),
}
#: All shapes by name; wav2vec 2.0's large one with them.
SHAPES = (*WHISPER, "wav2vec2-large")


def config_of(shape: str) -> Any:
    """The published configuration of a shape; of Whisper's decoder, which plays no part, one small block."""
    from transformers import Wav2Vec2Config, WhisperConfig

    if shape in WHISPER:
        width, layers, heads, mels = WHISPER[shape]
        return WhisperConfig(
            d_model=width,
            encoder_layers=layers,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            decoder_layers=1,
            decoder_attention_heads=heads,
            decoder_ffn_dim=width,
            num_mel_bins=mels,
            num_labels=len(CLASSES),
        )
    if shape != "wav2vec2-large":
        raise SystemExit(f"no shape {shape}; there are {', '.join(SHAPES)}")
    return Wav2Vec2Config(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        conv_bias=True,
        num_labels=len(CLASSES),
    )


@cache
def random_folder(shape: str) -> Path:
    """A random model of a shape as a Hugging Face folder, which goes with the process."""
    import torch

    from lorascope.models.families.known import FAMILIES

    folder = _temporary()
    config = config_of(shape)
    torch.manual_seed(0)
    FAMILIES[config.model_type].classifier.stock(config).save_pretrained(folder)
    return folder


def backbone_of(name: str, classes: tuple[str, ...] = CLASSES) -> Backbone:
    """A fresh backbone: `random-SHAPE`, or any that lorascope loads."""
    folder = str(random_folder(name.removeprefix("random-"))) if name.startswith("random-") else name
    return lorascope.load_backbone(folder, classes)


@dataclass(frozen=True)
class Material:
    """A corpus, the features of its clips (as many as were asked for, every emotion and speaker in turn) and
    the name of the backbone.
    """

    corpus: Corpus
    clips: dict[str, Clip]
    backbone: str

    def load(self) -> Backbone:
        """A fresh backbone."""
        return backbone_of(self.backbone, self.corpus.classes)

    @property
    def labels(self) -> dict[str, int]:
        """Class of every clip of the corpus."""
        return {str(clip): self.corpus.classes.index(emotion) for clip, emotion in self.corpus.clips["emotion"].items()}


def corpus_of(arguments: argparse.Namespace) -> Corpus:
    """The corpus that the arguments name or that is there; tells which."""
    name = arguments.corpus
    if arguments.quick and name is None:
        corpus = lorascope.load_corpus("csv", root=noise_corpus())
        print("corpus: noise, 32 clips of 4 speakers (--quick)")
        return corpus
    if name is None:
        here = os.environ.get("LORASCOPE_CORPORA")
        name = "emodb" if here and (Path(here) / "emodb").is_dir() else "synthetic"
    corpus = lorascope.load_corpus(name)
    print(f"corpus: {corpus.name}, {len(corpus.clips)} clips of {corpus.clips['speaker'].nunique()} speakers")
    return corpus


def material(arguments: argparse.Namespace) -> Material:
    """Clips and backbone as the arguments say; features come from the cache where they were made before."""
    corpus = corpus_of(arguments)
    name = arguments.backbone or ("random-mini" if arguments.quick else "whisper-tiny.en")
    clips = prepare(corpus, backbone_of(name, corpus.classes))
    if arguments.clips and arguments.clips < len(clips):
        # a stride through the table, so that few clips are of many speakers and emotions
        names = list(clips)
        kept = [names[int(number)] for number in np.linspace(0, len(names) - 1, arguments.clips)]
        clips = {name: clips[name] for name in dict.fromkeys(kept)}
    seconds = np.array([clip.seconds for clip in clips.values()])
    print(
        f"backbone: {name}; {len(clips)} clips, {seconds.mean():.2f} s on average ({seconds.min():.2f} to "
        f"{seconds.max():.2f})"
    )
    return Material(corpus, clips, name)


@cache
def noise_corpus() -> Path:
    """A manifest of 32 short clips of noise (4 speakers, 4 emotions, 2 takes of .5 and 1.2 s),
    which goes with the process.
    """
    import soundfile

    folder, random = _temporary(), np.random.default_rng(0)
    rows = ["path,speaker,emotion"]
    for speaker in ("a", "b", "c", "d"):
        for emotion in CLASSES:
            for take, seconds in enumerate((0.5, 1.2)):
                name = f"{speaker}-{emotion}-{take}.wav"
                soundfile.write(folder / name, random.standard_normal(int(16_000 * seconds)) * 0.1, 16_000)
                rows.append(f"{name},{speaker},{emotion}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def _temporary() -> Path:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)
