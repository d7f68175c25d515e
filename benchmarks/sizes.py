"""What a clip costs in encoders of every published size: forward, forward and backward, analyses; and how cost grows.

    python benchmarks/sizes.py [tiny base small medium large-v2] [--full] [--growth] [--predict] [--measured]

Each shape runs in a process of its own, with random weights: written as a Hugging Face folder, loaded as any backbone
is, LoRA (r = 32) on v_proj, two clips of the mean length of IEMOCAP's (4.5 s; `--full`: also the window of 30 s), then
the five analyses on eight clips of that length in batches of two. `--growth` varies layers, width, frames, clips and
rank of a small shape. `--predict` counts the arithmetic of the paper's whole run and says what it would take on GPUs
whose throughput is published (see docs/performance.md); nothing is computed for it. `--measured` says the same from
steps that this machine's GPU takes.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from analysed import Analysed
from arithmetic import flops, peak
from material import CLASSES, SHAPES, WHISPER, backbone_of, config_of
from measure import arguments, in_turn, peak_memory, resident, timed

from lorascope.experiment.methods import LoraConfig
from lorascope.machine.devices import device
from lorascope.models.adapters.building import adapt
from lorascope.models.families.known import FAMILIES
from lorascope.sound.context import context_frames
from lorascope.sound.features import SAMPLE_RATE

CLIPS = 2
#: As many as CKA needs; what an analysis does once for all clips costs more with more of them, but not in proportion.
ANALYSED = 8
#: IEMOCAP's four classes: clips, their mean length in seconds (Busso et al. 2008), folds, epochs as published.
PAPER = {"clips": 5531, "seconds": 4.5, "folds": 10, "epochs": 20}
PAPER_SIZES = ("tiny", "base", "small", "medium", "large-v2", "large-v3")
#: Published dense bf16 peaks, FLOP/s, and the part of them that published trainings of models of this size reach
#: (sources in docs/performance.md).
GPUS = {"A100": 312e12, "H100": 989e12}
REACHED = {"A100": 0.40, "H100": 0.35}
BATCH = 8
#: Seconds of a step that are Trainer's own: what `training.py` prints beside forward and backward, times the batch.
TRAINER = 0.005


def batch_of(shape: str, frames: int, clips: int = CLIPS) -> dict[str, torch.Tensor]:
    """Random features of clips that fill their frames."""
    mels = WHISPER[shape][3] if shape in WHISPER else 80
    size = (clips, mels, 2 * frames) if shape in WHISPER else (clips, 400 + 320 * (frames - 1))
    features = torch.randn(size, generator=torch.Generator().manual_seed(0))
    return {"input_features": features, "valid": torch.full((clips,), frames), "labels": torch.arange(clips) % 4}


def calls(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, Callable[[], None]]:
    """Forward, and forward and backward, of a batch; on a GPU under bf16 autocast."""

    def forward() -> None:
        model.eval()
        with torch.no_grad(), torch.autocast(device(), torch.bfloat16, enabled=device() == "cuda"):
            model(**batch)

    def backward() -> None:
        model.train()
        with torch.autocast(device(), torch.bfloat16, enabled=device() == "cuda"):
            loss = model(**batch).loss
        loss.backward()
        model.zero_grad(set_to_none=True)

    return {"forward": forward, "forward and backward": backward}


def measure_shape(shape: str, given: Any) -> None:
    """One shape, in this process: prints what each thing takes for a clip."""
    start = time.perf_counter()
    backbone = backbone_of(f"random-{shape}")
    print(
        f"{shape}: {backbone.layers} layers, width {backbone.width}; written and loaded in "
        f"{time.perf_counter() - start:.0f} s, {resident('VmRSS') / 2**30:.2f} GiB held"
    )
    model: Any = adapt(backbone.model, LoraConfig(), 0).to(device())
    precision = torch.bfloat16 if device() == "cuda" else torch.float32
    most = peak(precision)
    contexts = [context_frames(round(PAPER["seconds"] * 50), "trim")]
    contexts += [1500] if given.full and shape in WHISPER else []
    for frames in contexts:
        batch = {key: tensor.to(device()) for key, tensor in batch_of(shape, frames).items()}
        for name, call in calls(model, batch).items():
            # once for memory, which also warms up
            memory = peak_memory(call)
            timing = in_turn({name: call}, given.rounds, warm=False)[name]
            work = flops(call)
            most = max(most, peak(precision))
            print(
                f"{shape}: {frames} frames, {name}: {timing.wall / CLIPS:.3g} s a clip "
                f"({timing.cpu / CLIPS:.3g} s CPU), {memory / CLIPS / 2**20:.0f} MiB a clip, "
                f"{work / CLIPS / 1e9:.4g} GFLOP a clip, {work / min(timing.walls) / most:.0%} of the largest "
                f"product's {most / 1e9:.0f} GFLOP/s",
                flush=True,
            )
    if not given.no_analyses:
        # a fresh one: this one has its adapter
        del model, backbone
        analyse_shape(shape, backbone_of(f"random-{shape}"))


def analyse_shape(shape: str, backbone: Any) -> None:
    """The five analyses of trained, one random and frozen: the pass over the clips, what comes after it, and what a
    bare pass of the same models takes.
    """
    random = np.random.default_rng(0)
    samples = round(PAPER["seconds"] * SAMPLE_RATE)
    names = [f"clip-{number}" for number in range(ANALYSED)]
    features = {
        name: backbone.features.extract(random.standard_normal(samples).astype(np.float32) * 0.1) for name in names
    }
    emotions = [CLASSES[number % len(CLASSES)] for number in range(ANALYSED)]
    table = pd.DataFrame({"clip": names, "speaker": names, "emotion": emotions})
    of = Analysed(backbone, table, features, CLASSES, "trim", batch_size=CLIPS)
    _, bare = timed(of.bare)
    done: dict[str, Any] = {}
    seconds: list[float] = []
    memory = peak_memory(lambda: seconds.append(timed(lambda: done.update(of.traced()))[1]))
    _, once = timed(lambda: [measure.compute() for measure in done.values()])
    a_pass = seconds[0]
    print(
        f"{shape}: {next(iter(of.contexts.values()))} frames, five analyses of trained, one random and frozen: "
        f"{a_pass / ANALYSED:.3g} s CPU a clip ({a_pass / bare:.2f} times bare), "
        f"once {once:.3g} s CPU; {memory / 2**20:.0f} MiB; peak of the process {resident() / 2**30:.1f} GiB",
        flush=True,
    )


def growth(given: Any) -> None:
    """How forward and backward grow with each of five things, all others at the base: the exponent
    of the fitted power law.
    """
    base = {"layers": 4, "width": 384, "frames": 250, "clips": 2, "rank": 32}
    varied = {
        "layers": (2, 4, 8),
        "width": (192, 384, 768),
        "frames": (125, 250, 500, 1000),
        "clips": (1, 2, 4, 8),
        "rank": (8, 32, 128),
    }
    if given.quick:
        base = {"layers": 1, "width": 64, "frames": 50, "clips": 1, "rank": 4}
        varied = {"layers": (1, 2), "frames": (50, 100)}
    print(f"growth of forward and backward around {base}:")
    for name, values in varied.items():
        seconds, works = [], []
        for value in values:
            sizes = {**base, name: value}
            model = small_model(sizes["layers"], sizes["width"], sizes["rank"])
            call = calls(model, batch_of("tiny", sizes["frames"], sizes["clips"]))["forward and backward"]
            timing = in_turn({"call": call}, given.rounds)["call"]
            seconds.append(min(timing.cpus))
            works.append(flops(call))
        steps = np.log(np.array(values, float))
        slopes = [np.polyfit(steps, np.log(np.array(costs, float)), 1)[0] for costs in (seconds, works)]
        told = ", ".join(f"{value}: {second:.3g} s" for value, second in zip(values, seconds, strict=True))
        print(f"  {name:7s} {told}; seconds grow as {name}^{slopes[0]:.2f}, arithmetic as {name}^{slopes[1]:.2f}")


def small_model(layers: int, width: int, rank: int) -> Any:
    """A Whisper of any layers and width, with LoRA."""
    config = config_of("tiny")
    config.update(
        {"encoder_layers": layers, "d_model": width, "encoder_ffn_dim": 4 * width, "num_hidden_layers": layers}
    )
    config.update({"encoder_attention_heads": max(1, width // 64), "decoder_attention_heads": 1})
    return adapt(FAMILIES[config.model_type].classifier(config), LoraConfig(rank=rank, alpha=2 * rank), 0)


def work_of(shape: str, frames: int) -> tuple[float, float]:
    """FLOP of forward, and of forward and backward with LoRA, for one clip, counted on tensors without content."""
    config = config_of(shape)
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = adapt(FAMILIES[config.model_type].classifier(config), LoraConfig(), 0)
        batch = {key: tensor.to("meta") for key, tensor in batch_of(shape, frames, 1).items()}
        counted = [flops(call) for call in calls(model, batch).values()]
    return counted[0], counted[1]


def dispatch(given: Any) -> Callable[[int], tuple[float, float]]:
    """Seconds that this machine's Python takes to launch a batch's forward, and forward and backward, by the number
    of layers: measured where the arithmetic is next to nothing.
    """
    layers = (1, 2) if given.quick else (4, 12)
    took = []
    for count in layers:
        model = small_model(count, 64, 32)
        timings = in_turn(calls(model, batch_of("tiny", 4, BATCH)), 5)
        took.append([min(timings[name].cpus) for name in ("forward", "forward and backward")])
    fits = [np.polyfit(layers, column, 1) for column in np.array(took).T]
    return lambda count: (float(np.polyval(fits[0], count)), float(np.polyval(fits[1], count)))


def predict(given: Any) -> None:
    """The paper's whole run of LoRA: arithmetic by size and context, and hours on GPUs."""
    launched = dispatch(given)
    print(_folds_in_words())
    print(
        f"launching a step of 32 layers takes this machine {1000 * launched(32)[1]:.0f} ms, of 4 layers "
        f"{1000 * launched(4)[1]:.0f} ms"
    )
    whole: dict[tuple[str, str], list[float]] = {}
    for context, frames, shape in _runs(given):
        forward, both = work_of(shape, frames)
        steps, passes = _steps_and_passes()
        work = PAPER["folds"] * BATCH * (steps * both + passes * forward)
        told = []
        for gpu, most in GPUS.items():
            speed = most * REACHED[gpu]
            bounds = [
                max(BATCH * cost / speed, host)
                for cost, host in zip((forward, both), launched(WHISPER[shape][1]), strict=True)
            ]
            fold = _hours_of_a_fold(*bounds)
            whole.setdefault((context, gpu), []).extend([fold] * int(PAPER["folds"]))
            told.append(f"{gpu} {work / speed / 3600:.3g} h by arithmetic, {PAPER['folds'] * fold:.3g} h")
        print(
            f"  {context}, {shape:8s} {frames:4d} frames: forward {forward / 1e9:7.4g} GFLOP a clip, with "
            f"backward {both / 1e9:7.4g}; run {work / 1e15:7.4g} PFLOP: {'; '.join(told)}"
        )
    _print_whole(whole)


def predict_from_steps(given: Any) -> None:
    """The paper's whole run of LoRA from the time that a batch takes on this machine's GPU, forward and with
    backward, by size and context.
    """
    print(_folds_in_words())
    whole: dict[tuple[str, str], list[float]] = {}
    for context, frames, shape in _runs(given):
        with torch.device(device()):
            model = adapt(FAMILIES[config_of(shape).model_type].classifier(config_of(shape)), LoraConfig(), 0)
        batch = {key: tensor.to(device()) for key, tensor in batch_of(shape, frames, BATCH).items()}
        taken = in_turn(calls(model, batch), 4)
        forward, both = (taken[name].best for name in ("forward", "forward and backward"))
        fold = _hours_of_a_fold(forward, both)
        whole.setdefault((context, "of these GPUs"), []).extend([fold] * int(PAPER["folds"]))
        print(
            f"  {context}, {shape:8s} {frames:4d} frames: forward {BATCH / forward:.4g} clips/s, with backward "
            f"{BATCH / both:.4g}; run {PAPER['folds'] * fold:.3g} h",
            flush=True,
        )
        del model
    _print_whole(whole)


def _runs(given: Any) -> Iterator[tuple[str, int, str]]:
    """Context, frames and shape of every run of the paper."""
    for context in ("trim", "full"):
        for shape in ("mini",) if given.quick else PAPER_SIZES:
            yield context, context_frames(round(PAPER["seconds"] * 50), context), shape


def _folds() -> tuple[int, int, int]:
    """Clips that a fold trains on, chooses on and tests: leaving one speaker out, a tenth is tested, once, and the
    session's other speaker chooses, every epoch.
    """
    trained, chosen, tested = (round(PAPER["clips"] * part) for part in (0.8, 0.1, 0.1))
    return trained, chosen, tested


def _folds_in_words() -> str:
    clips, folds, epochs = (PAPER[key] for key in ("clips", "folds", "epochs"))
    trained, chosen, tested = _folds()
    return (
        f"{clips} clips, {folds} folds, {epochs} epochs: a fold trains on {trained}, chooses on "
        f"{chosen}, tests {tested}"
    )


def _steps_and_passes() -> tuple[float, float]:
    """Batches of a fold: trained with backward, and those that only pass forward."""
    trained, chosen, tested = _folds()
    return PAPER["epochs"] * math.ceil(trained / BATCH), PAPER["epochs"] * chosen / BATCH + tested / BATCH


def _hours_of_a_fold(forward: float, both: float) -> float:
    """Hours, of the seconds that a batch takes forward, and with backward."""
    steps, passes = _steps_and_passes()
    return (steps * (both + TRAINER) + passes * forward) / 3600


def _print_whole(whole: Mapping[tuple[str, str], list[float]]) -> None:
    for (context, gpu), hours in whole.items():
        print(
            f"  {context}, all sizes: {sum(hours):.3g} h on one {gpu}, {shared(hours, 8):.3g} h "
            "on eight (cells dealt out)"
        )


def shared(hours: Sequence[float], machines: int) -> float:
    """Hours until all cells are done where each machine takes the longest cell that is left."""
    busy = [0.0] * machines
    for took in sorted(hours, reverse=True):
        busy[busy.index(min(busy))] += took
    return max(busy)


def main(argv: Sequence[str] | None = None) -> None:
    """Run each shape in a process of its own."""
    if argv is None:
        argv = sys.argv[1:]
    shapes = [word for word in argv if word in SHAPES]
    rest = [word for word in argv if word not in SHAPES]
    given = arguments(
        __doc__ or "",
        rest,
        full=False,
        growth=False,
        predict=False,
        measured=False,
        no_analyses=False,
        here=False,
        rounds=2,
    )
    if given.here:
        for shape in shapes:
            measure_shape(shape, given)
        return
    if given.growth or given.predict or given.measured:
        for part in (growth,) * given.growth + (predict,) * given.predict + (predict_from_steps,) * given.measured:
            part(given)
        return
    for shape in shapes or (["mini"] if given.quick else ["tiny", "base", "small", "medium", "large-v2"]):
        subprocess.run([sys.executable, __file__, shape, "--here", *rest], check=True)
    growth(given)
    predict(given)


if __name__ == "__main__":
    main()
