"""A LoRA step of a large encoder in the 30 s window: how much of the device's largest matrix product it reaches, as it
is and with compiled blocks.

    python benchmarks/large_step.py [--backbone random-large-v2] [--batch 8] [--precision bf16]

Needs a GPU for the shape that it is about; with `--quick` it shows on any machine that it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from arithmetic import flops, peak
from material import CLASSES, backbone_of
from measure import arguments, goal, peak_memory, timed

from lorascope.experiment.trainer import TrainerConfig
from lorascope.training.arguments import compiled
from training import Batch, Steps


def batch_of(steps: Steps, clips: int, frames: int) -> Batch:
    """Noise of so many clips."""
    mels = steps.model.get_base_model().config.num_mel_bins
    features = torch.randn(clips, mels, 2 * frames, device=steps.device)
    labels = torch.arange(clips, device=steps.device) % len(CLASSES)
    return {"input_features": features, "labels": labels}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both ways."""
    given = arguments(__doc__ or "", argv, batch=8, precision="bf16", steps=6)
    name = given.backbone or ("random-mini" if given.quick else "random-large-v2")
    most = peak(torch.bfloat16 if given.precision == "bf16" else torch.float32)
    steps = Steps(SimpleNamespace(load=lambda: backbone_of(name)))  # pyright: ignore[reportArgumentType]
    batch = batch_of(steps, given.batch, 1500)
    work = flops(lambda: steps.forward_backward([batch], given.precision))

    def trained() -> float:
        steps.train([batch] * 2, given.precision)
        return timed(lambda: steps.train([batch] * given.steps, given.precision))[0] / given.steps

    def told(words: str, seconds: float) -> float:
        reached = work / seconds
        memory = peak_memory(lambda: steps.train([batch], given.precision)) / 2**30
        print(
            f"{words}: {given.batch / seconds:.4g} clips/s, {reached / 1e12:.3g} of {most / 1e12:.3g} TFLOP/s "
            f"({reached / most:.1%}), {memory:.1f} GiB beyond the weights"
        )
        return reached / most

    told("as it is", trained())
    backend: dict[str, Any] = {"torch_compile_backend": "eager"} if given.quick else {}
    with compiled(steps.model, TrainerConfig(torch_compile=True, **backend)):
        warm, _ = timed(lambda: steps.train([batch], given.precision))
        share = told(f"compiled blocks ({warm:.0f} s to compile)", trained())
    goal(f"{name}, 30 s, {given.precision}, compiled: of the matrix peak", 100 * share, at_least=40, unit="%")


if __name__ == "__main__":
    main()
