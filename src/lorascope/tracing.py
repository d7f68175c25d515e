"""One pass over the clips: every model runs once on every batch, and every measure gets the parts that it asked for.

nnsight traces the models. Measures reduce inside the trace, at the moment when a part is produced, so no more than one part of a batch is
held beside the autograd graph. Importing nnsight replaces `torch.Tensor.backward`, so it is imported here and only when tracing starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from .measures.kept_frames import Space
from .measures.measure import GRADIENT_PARTS, Batch, Factors, Measure, Part, Replay, Study
from .models.parts import MODULES, Block, EncoderParts
from .models.prefix import SharedPrefix
from .models.states import ModelStates
from .progress import bar
from .requirements import require

#: Forward parts of a block that are there in every model.
BLOCK_PARTS = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")


def batches_of(
    clips: pd.DataFrame,
    window: Callable[[str, int], Any],
    contexts: Mapping[str, int],
    batch_size: int,
    pools_valid: bool,
    device: torch.device | str = "cpu",
    windowed: bool = True,
    batch_frames: int | None = None,
) -> Iterator[Batch]:
    """Batches of clips of one context length, shortest first: `batch_size` clips each, or as many as have `batch_frames` frames where these are fewer (one at least).

    `clips` has columns `clip`, `label`, `frames` (one row a clip); `window(clip, frames)` gives a clip's features cut or padded to so many frames; `contexts` the frames
    that each clip's encoder input has. `windowed` says whether the encoder sees padding (`Batch.windowed`).
    """
    lengths = clips["clip"].map(contexts)
    for frames in sorted(lengths.unique()):
        rows = [row for row, length in enumerate(lengths) if length == frames]
        size = clips_a_batch(int(frames), batch_size, batch_frames)
        for first in range(0, len(rows), size):
            chosen = rows[first : first + size]
            part = clips.iloc[chosen]
            features = torch.stack([torch.as_tensor(window(clip, int(frames))) for clip in part["clip"]])
            yield Batch(
                rows=torch.tensor(chosen),
                features=features,
                frames=int(frames),
                valid=torch.tensor(part["frames"].to_numpy()),
                labels=torch.tensor(part["label"].to_numpy()),
                pools_valid=pools_valid,
                windowed=windowed,
            ).to(device)


def clips_a_batch(frames: int, batch_size: int, batch_frames: int | None) -> int:
    """How many clips of so many frames a batch holds."""
    return batch_size if batch_frames is None else max(1, min(batch_size, batch_frames // frames))


def study_of(
    states: ModelStates, clips: pd.DataFrame, classes: Sequence[str], seed: int, draws: int, memory_mib: int = 512
) -> Study:
    """Describe the models and clips of an analysis for the measures; `memory_mib` is what they may keep of frames before they go to a file."""
    keys = states.parts.adapted()
    scales = {key: states.parts.factors(*key)[2] for key in keys}
    factors = {
        name: {
            key: Factors(a.double().cpu(), b.double().cpu(), scales[key])
            for key, (a, b) in states.factors(name).items()
        }
        for name in states.names
    }
    return Study(
        clips=clips.reset_index(drop=True),
        classes=tuple(classes),
        models=states.names,
        layers=states.parts.layers,
        width=states.parts.width,
        modules=tuple(dict.fromkeys(module for _, module in keys)),
        factors=factors,
        headless=states.headless,
        post_norm=states.parts.post_norm,
        seed=seed,
        draws=draws,
        space=Space(memory_mib << 20),
    )


def trace(
    states: ModelStates,
    batches: Iterator[Batch],
    measures: Sequence[Measure],
    total: int | None = None,
    precision: str = "fp32",
) -> None:
    """Run all models over all batches and feed the measures; `total` is the number of batches, for the progress bar.

    One forward for each model and batch, and one backward for those models whose gradients a measure asks for; what lies below the first adapted block is run for the first
    model and repeated for the others. With `precision` bf16 the models run under autocast; what they give is cast to float32 before any measure sees it.
    """
    require("nnsight")
    from nnsight import NNsight

    traced = NNsight(states.parts.peft)
    streams = {model: [measure.replays(model) for measure in measures] for model in states.names}
    of_any = frozenset().union(*(measure.parts(model) for measure in measures for model in states.names))
    of_any |= {"resid_pre"} if any(any(of_one) for of_one in streams.values()) else set()
    compared = any("frozen" in wanted for of_one in streams.values() for wanted in of_one)
    prefix = SharedPrefix(states.parts)
    for batch in bar(batches, "tracing", total):
        prefix.forget()
        reference: list[Tensor] | None = None
        for model in states.names:
            listeners = [(measure, measure.parts(model)) for measure in measures]
            replaying = [measure for measure, wanted in zip(measures, streams[model], strict=True) if wanted]
            keep = any("own" in wanted for wanted in streams[model]) or (model == "frozen" and compared)
            if not keep and not replaying and not any(wanted for _, wanted in listeners):
                continue
            with states.enter(model) as parts:
                resid_pre = _trace_one(traced, parts, model, batch, listeners, keep, prefix, of_any, precision)
                if model == "frozen" and compared:
                    reference = resid_pre
                if replaying:
                    _replay(parts, model, batch, replaying, resid_pre, reference, prefix.alike, precision)


def _trace_one(
    traced: Any,
    parts: EncoderParts,
    model: str,
    batch: Batch,
    listeners: Sequence[tuple[Measure, frozenset[str]]],
    keep: bool,
    prefix: SharedPrefix,
    of_any: frozenset[str],
    precision: str,
) -> list[Tensor]:
    wanted = frozenset().union(*(names for _, names in listeners)) | ({"resid_pre"} if keep else set())
    kept: list[Tensor] = []

    def give(name: str, layer: int, module: str | None, tensor: Any) -> None:
        if layer < prefix.depth and not again:
            prefix.kept[name, layer] = tensor.detach()
        if name not in wanted:
            return
        tensor = _single(tensor.detach())
        if keep and name == "resid_pre":
            kept.append(tensor)
        if not batch.windowed and name.startswith(("lora", "grad")):
            # what such an encoder computes on padding is no part of anything: Gram matrices and flattened clips must not see it
            tensor = tensor * batch.mask[..., None].to(tensor.dtype)
        with _autocast(batch, "fp32"):
            for measure, names in listeners:
                if name in names:
                    measure.update(Part(model, name, layer, module, tensor, batch, parts.final_norm, parts.apply_head))

    adapted = [] if model == "frozen" else parts.adapted()
    gradients = bool(wanted & set(GRADIENT_PARTS)) and bool(adapted)
    weights = [parts.factors(*key)[0] for key in adapted]
    # nothing but A's weights needs a graph: it begins at the first adapted layer, and the frozen encoder below costs no backward
    for parameter in parts.peft.parameters():
        parameter.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(gradients)
    adapter = str(parts.peft.active_adapter)
    stack = parts.stack(parts.root(traced))
    valid = batch.valid if batch.pools_valid else None
    again = prefix.filled

    def side(name: str, layer: int, module: str, tensor: Any) -> None:
        give(name, layer, module, tensor)
        if gradients and f"grad_{name}" in wanted:
            # a hook holds the graph and not the tensor, which nothing else needs for its gradient
            tensor.register_hook(lambda gradient: give(f"grad_{name}", layer, module, gradient))

    def sides_of(block: Any, layer: int, module: str) -> None:
        linear = parts.linear_of(block, module)
        side("lora_a", layer, module, getattr(linear.lora_A, adapter).output)
        if wanted & {"lora_b", "grad_lora_b"}:
            side("lora_b", layer, module, getattr(linear.lora_B, adapter).output)

    def modules_of(layer: int, in_mlp: bool) -> list[str]:
        here = [module for at, module in adapted if at == layer and module.startswith("fc") == in_mlp]
        return sorted(here, key=MODULES.index)

    # the autocast is one model's: it remembers weights that the next model exchanges in place
    # nested `with` statements: nnsight takes the traced block from the source, and knows one that stands alone
    with torch.set_grad_enabled(gradients), prefix.shared(), _autocast(batch, precision):  # noqa: SIM117
        with traced.trace(batch.features, valid=valid):
            for layer in range(parts.layers):
                if layer < prefix.depth and again:
                    for name in BLOCK_PARTS:
                        give(name, layer, None, prefix.kept.get((name, layer)))
                    continue
                block = stack.layers[layer]
                here = wanted if layer >= prefix.depth else of_any
                if "resid_pre" in here or ("resid_mid" in here and not parts.post_norm):
                    stream = block.input
                    give("resid_pre", layer, None, stream)
                for module in modules_of(layer, in_mlp=False):
                    sides_of(block, layer, module)
                if here & {"attn_out", "resid_mid"}:
                    attention = parts.attention_output(block)
                    give("attn_out", layer, None, attention)
                    if "resid_mid" in here:
                        middle = parts.resid_mid(block) if parts.post_norm else stream + attention
                        give("resid_mid", layer, None, middle)
                for module in modules_of(layer, in_mlp=True):
                    sides_of(block, layer, module)
                if "mlp_out" in here:
                    give("mlp_out", layer, None, parts.mlp_output(block))
                if "resid_post" in here or ("final_norm" in wanted and layer == parts.layers - 1):
                    stream = parts.block_output(block.output)
                    give("resid_post", layer, None, stream)
            if "final_norm" in wanted:
                give("final_norm", parts.layers, None, parts.final_norm(stream))
            logits = traced.output.logits
            give("logits", parts.layers, None, logits)
            if gradients:
                with _autocast(batch, "fp32"):
                    loss = torch.nn.functional.cross_entropy(_single(logits), batch.labels, reduction="sum")
                torch.autograd.grad(loss, weights, allow_unused=True)
    return kept


def _replay(
    parts: EncoderParts,
    model: str,
    batch: Batch,
    measures: Sequence[Measure],
    resid_pre: list[Tensor],
    reference: list[Tensor] | None,
    shared: int,
    precision: str,
) -> None:
    valid = batch.valid if batch.pools_valid else None

    def block(layer: int, hidden: Tensor) -> Block:
        with _autocast(batch, precision):
            found = parts.run_block(layer, hidden, valid)
        return Block(*(_single(part) for part in found))

    def from_layer(layer: int, hidden: Tensor) -> Tensor:
        with _autocast(batch, precision):
            return _single(parts.run_from(layer, hidden, valid))

    replay = Replay(model, batch, resid_pre, reference, block, from_layer, shared)
    with torch.no_grad():
        for measure in measures:
            measure.replay(replay)


def _autocast(batch: Batch, precision: str) -> torch.autocast:
    """The models' arithmetic in bfloat16 where `precision` says so; that of the measures, and else, as tensors are."""
    return torch.autocast(batch.features.device.type, torch.bfloat16, enabled=precision == "bf16")


def _single(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
