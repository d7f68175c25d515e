"""LoRA training: clips a second, trimmed against full, bf16 against fp32, bucketed against not; the share of a step
that is not the model; arithmetic against the peak.

    python benchmarks/training.py [--clips 96] [--backbone whisper-base] [--profile]

Trimming changes what is computed, not only how fast (Whisper attends to its padding); what it does to UAR is in
docs/performance.md. `full` needs no sample of lengths: it is measured on one batch.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from arithmetic import flops, peak
from material import Material, material
from measure import Timing, arguments, goal, in_turn, peak_memory, settle
from torch import Tensor

from lorascope.experiment.methods import LoraConfig
from lorascope.machine.devices import device
from lorascope.models.adapters.building import adapt
from lorascope.training.data import ClipDataset, LengthBatches, collate
from lorascope.training.fit import LengthTrainer, fit

BATCH = 8
#: What of a step is told apart, and where it happens.
PARTS = {
    "batches": (LengthTrainer, "get_batch_samples"),
    "forward": (LengthTrainer, "compute_loss"),
    "backward": (Accelerator, "backward"),
    "clipping": (LengthTrainer, "_clip_grad_norm"),
    "optimiser": (AcceleratedOptimizer, "step"),
    "evaluation and saving": (LengthTrainer, "_maybe_log_save_evaluate"),
}
Batch = dict[str, Tensor]


class Steps:
    """A model with its LoRA and optimiser, trained on batches that lie ready."""

    def __init__(self, clips: Material) -> None:
        self.device = device()
        model: Any = adapt(clips.load().model, LoraConfig(), 0).train()
        self.model = model.to(self.device)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=1e-4)

    def forward_backward(self, batches: Sequence[Batch], precision: str = "fp32") -> float:
        """Forward and backward over the batches; their mean loss."""
        losses = []
        for batch in batches:
            there = {key: tensor.to(self.device, non_blocking=True) for key, tensor in batch.items()}
            with torch.autocast(self.device, torch.bfloat16, enabled=precision == "bf16"):
                loss = self.model(**there).loss
            loss.backward()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def train(self, batches: Sequence[Batch], precision: str = "fp32") -> None:
        """Whole steps over the batches."""
        for batch in batches:
            self.forward_backward([batch], precision)
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)


def batches_of(clips: Material, how: str) -> list[Batch]:
    """All clips in batches: `buckets` (as lorascope trains), `longest` (random batches, padded to their longest
    clip), `own` (clips of exactly one length), `full`.
    """
    names, random = list(clips.clips), np.random.default_rng(0)
    data = ClipDataset(names, clips.labels, clips.clips, "full" if how == "full" else "trim")
    valid = np.array([clips.clips[name].features.valid for name in names])
    if how == "longest":
        order = random.permutation(len(names))
        groups = [order[first : first + BATCH].tolist() for first in range(0, len(order), BATCH)]
        lengths = [int(valid[group].max()) for group in groups]
    else:
        groups = list(LengthBatches(valid.tolist() if how == "own" else data.lengths, BATCH, 0))
        lengths = [int(valid[group[0]]) if how == "own" else data.lengths[group[0]] for group in groups]
    made = []
    for group, frames in zip(groups, lengths, strict=True):
        data.lengths = [frames] * len(names)
        made.append(collate([data[index] for index in group]))
    return made


def count(batches: Sequence[Batch]) -> int:
    """Clips in the batches."""
    return sum(len(batch["labels"]) for batch in batches)


def rate(timing: Timing, batches: Sequence[Batch]) -> str:
    """Clips a second."""
    clips = count(batches)
    return f"{clips / timing.wall:.3g} clips/s (spread {timing.spread:.0%}; {clips / timing.cpu:.3g} a CPU second)"


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Seconds spent in each part of Trainer's epochs, and in `epochs` as a whole; what is within a part
    counts for that part alone.
    """
    seconds: dict[str, float] = defaultdict(float)
    inside: list[str] = []

    def clocked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if inside and name != "epochs" and inside != ["epochs"]:
                return function(*given, **named)
            settle()
            start = time.perf_counter()
            inside.append(name)
            try:
                return function(*given, **named)
            finally:
                settle()
                inside.pop()
                seconds[name] += time.perf_counter() - start

        return call

    with ExitStack() as stack:
        for name, (owner, attribute) in {**PARTS, "epochs": (LengthTrainer, "_run_epoch")}.items():
            stack.enter_context(patch.object(owner, attribute, clocked(name, getattr(owner, attribute))))
        yield seconds


def share_not_model(clips: Material, profile: bool) -> float:
    """Train one epoch as lorascope does; print where the time of its steps goes and return the part that is
    neither forward nor backward.
    """
    names = list(clips.clips)
    train, held_out = (ClipDataset(ids, clips.labels, clips.clips, "trim") for ids in (names, names[:2]))
    model: Any = adapt(clips.load().model, LoraConfig(), 0)
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder, clocks() as seconds:
        if profile:
            profiler.enable()
        root = Path(folder)
        settings = LoraConfig(epochs=1, batch_size=BATCH)
        fit(
            model, train, held_out, len(clips.corpus.classes), settings, 1e-4, 0, "fp32", root / "trainer", root / "log"
        )
        profiler.disable()
    whole = seconds["epochs"] - seconds["evaluation and saving"]
    known = {name: seconds[name] for name in PARTS if name != "evaluation and saving"}
    for name, took in {**known, "rest": whole - sum(known.values())}.items():
        print(f"  {name:10s} {took / whole:7.2%} of the steps, {1000 * took / len(names):.2f} ms a clip")
    print(f"  as a run trains: {len(names) / whole:.3g} clips/s")
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(60)
    return 1 - (known["forward"] + known["backward"]) / whole


def show_operations(steps: Steps, batches: Sequence[Batch]) -> None:
    """Where forward and backward spend their time, by operation."""
    with torch.profiler.profile() as profiler:
        steps.forward_backward(batches)
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=48))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments(__doc__ or "", argv, clips=96, profile=False)
    clips = material(given)
    steps = Steps(clips)
    buckets, longest, own = (batches_of(clips, how) for how in ("buckets", "longest", "own"))
    full = batches_of(clips, "full")[:1]
    # bf16 may be slow: one batch of middling length, and fp32 on the same one
    few = sorted(buckets, key=lambda batch: batch["input_features"].shape[-1])[len(buckets) // 2 :][:1]
    precisions = {precision: steps.forward_backward(few, precision) for precision in ("fp32", "bf16")}
    highest: list[float] = []
    took = in_turn(
        {
            "trim": lambda: steps.train(buckets),
            "full": lambda: steps.train(full),
            "longest": lambda: steps.train(longest),
            "own": lambda: steps.train(own),
            "fp32": lambda: steps.train(few),
            "bf16": lambda: steps.train(few, "bf16"),
            "forward and backward": lambda: steps.forward_backward(buckets),
            "product": lambda: highest.append(peak()),
        },
        given.rounds,
        warm=False,
    )
    for name, batches, words in (
        ("trim", buckets, "trim, in buckets of one length"),
        ("longest", longest, "trim, random batches padded to their longest (other results)"),
        ("own", own, f"trim, every clip's own length ({len(own)} batches instead of {len(buckets)})"),
        ("full", full, "full, 30 s"),
        ("fp32", few, "trim fp32, one batch"),
        ("bf16", few, "trim bf16 autocast, the same batch"),
    ):
        print(f"{words}: {rate(took[name], batches)}")
    print(f"mean loss fp32 {precisions['fp32']:.4f}, bf16 {precisions['bf16']:.4f} (dropout draws differ)")
    for name, batches in (("trim", buckets[:1]), ("full", full)):
        print(f"peak memory of a step, {name}: {peak_memory(lambda b=batches: steps.train(b)) / 2**20:.0f} MiB")
    each = count(full) / count(buckets)
    wall, cpu = took["full"].over(took["trim"])
    goal("training: trim over full, clips/s", wall / each, at_least=8, note=f"CPU seconds {cpu / each:.3g}x")
    ratio = took["bf16"].over(took["fp32"])
    print(f"bf16 over fp32, clips/s: {1 / ratio[0]:.3g}x (CPU seconds {1 / ratio[1]:.3g}x)")
    for name in ("longest", "own"):
        ratio = took[name].over(took["trim"])
        print(f"buckets over {name}, clips/s: {ratio[0]:.3g}x (CPU seconds {ratio[1]:.3g}x)")
    print("one epoch as a run trains it:")
    goal(
        "training: part of a step that is not the model",
        100 * share_not_model(clips, given.profile),
        at_most=10,
        unit="%",
    )
    work = flops(lambda: steps.forward_backward(buckets))
    reached, most = work / took["forward and backward"].best, max(highest)
    print(
        f"{work / count(buckets) / 1e9:.3g} GFLOP a clip; {reached / 1e9:.3g} GFLOP/s of {most / 1e9:.3g} (the "
        "largest matrix product's)"
    )
    if given.profile:
        show_operations(steps, buckets)
    goal("training: arithmetic against the peak, fp32", 100 * reached / most, at_least=60, unit="%")


if __name__ == "__main__":
    main()
