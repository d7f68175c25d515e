"""Do the largest encoders fit? Random models in the shapes of Whisper large-v3 and wav2vec 2.0 large, from load to analysis, with peak memory.

    python benchmarks/large_shapes.py [whisper-large-v3 wav2vec2-large ...]

Each shape runs in a process of its own: it is written as a Hugging Face folder, loaded as any backbone is, LoRA (r = 32) on v_proj takes one training step on two clips (30 s for Whisper, as
published), and all analyses run on two clips of one second. It prints seconds and the process's peak resident memory, GiB. Random weights stand in for real ones: what is tested is shape, not skill.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPES = ("whisper-large-v3", "wav2vec2-large")
CLASSES = ("anger", "happiness", "neutrality", "sadness")


def config_of(shape: str):
    """The published configuration of a shape."""
    from transformers import Wav2Vec2Config, WhisperConfig

    if shape == "whisper-large-v3":
        sizes = {"layers": 32, "attention_heads": 20, "ffn_dim": 5120}
        both = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sizes.items()}
        return WhisperConfig(d_model=1280, num_mel_bins=128, vocab_size=51866, num_labels=4, **both)
    return Wav2Vec2Config(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        conv_bias=True,
        num_labels=4,
    )


def write_folder(shape: str, folder: Path) -> None:
    """Save a random model of a shape as a Hugging Face folder."""
    from lorascope.models.families import FAMILIES

    config = config_of(shape)
    FAMILIES[config.model_type].classifier.stock(config).save_pretrained(folder)


def measure(shape: str, folder: Path) -> None:
    """Load, train one step, analyse; print what each took."""
    import numpy as np
    import pandas as pd
    import torch

    from lorascope.analysis import analyse
    from lorascope.audio import Clip
    from lorascope.config import AnalysisConfig
    from lorascope.methods import LoraConfig
    from lorascope.models.backbone import load_backbone
    from lorascope.models.methods import adapt

    start = time.perf_counter()

    def tell(what: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{shape}: {what} after {time.perf_counter() - start:.0f} s, peak {peak:.1f} GiB", flush=True)

    backbone = load_backbone(str(folder), CLASSES)
    tell(f"loaded, {backbone.layers} layers, width {backbone.width}")
    random = np.random.default_rng(0)
    sounds = {name: random.standard_normal(16_000).astype(np.float32) * 0.1 for name in ("a", "b")}
    clips = {name: Clip(name, 1.0, backbone.features.extract(sound)) for name, sound in sounds.items()}
    model = adapt(backbone.model, LoraConfig(), 0).train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    frames = 1500 if backbone.model.has_window else 200
    batch = torch.as_tensor(np.stack([clip.features.window(frames) for clip in clips.values()]))
    valid = torch.tensor([clip.features.valid for clip in clips.values()])
    model(batch, valid=valid, labels=torch.tensor([0, 1])).loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    tell(f"trained one step on two clips of {frames} frames")
    table = pd.DataFrame({"clip": ["a", "b"], "speaker": ["s", "t"], "emotion": list(CLASSES[:2])})
    result = analyse(model.eval(), None, table, clips, CLASSES, "trim", AnalysisConfig(draws=50))
    tell(f"analysed two clips ({', '.join(f'{stem} {len(rows)} rows' for stem, rows in result.tables.items())})")


def main() -> None:
    """Run each shape in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=SHAPES)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        (write_folder if arguments.write else measure)(arguments.shapes[0], arguments.folder)
        return
    for shape in arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            again = [sys.executable, __file__, shape, "--folder", folder]
            subprocess.run([*again, "--write"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
