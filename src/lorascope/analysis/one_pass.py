"""One pass over the clips: every model runs once on every batch, and every measure gets the parts that it asked for.

nnsight traces the models. Measures reduce inside the trace, at the moment when a part is produced, so no more than one
part of a batch is held beside the autograd graph. Importing nnsight replaces `torch.Tensor.backward`, so it is imported
here and only when tracing starts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ..machine.devices import has_cuda, whole_float32
from ..machine.environment import one_thread
from ..machine.progress import bar
from ..machine.requirements import require
from ..models.heads import direct_logits, head_outputs
from ..models.interventions import Intervention, answer, encoded
from ..models.parts import MODULES, Block, EncoderParts
from ..models.updates import turnable, turns_all
from .measure import GRADIENT_PARTS, Batch, Measure, Part, Replay
from .prefix import SharedPrefix
from .states import ModelStates

#: Forward parts of a block that are there in every model.
BLOCK_PARTS = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")


def trace(
    states: ModelStates,
    batches: Iterator[Batch],
    measures: Sequence[Measure],
    total: int | None = None,
    precision: str = "fp32",
) -> None:
    """Run all models over all batches and feed the measures; `total` is the number of batches, for the progress bar.

    One forward for each model and batch, and one backward for those models whose gradients a measure asks for; what
    lies below the first adapted block is run for the first model and repeated for the others. With `precision` bf16 the
    models run under autocast; what they give is cast to float32 before any measure sees it.
    """
    require("nnsight")
    # nnsight gives every object a method `save`, after which pybind11 can make no module that defines one
    if importlib.util.find_spec("parselmouth") is not None:
        import_module("parselmouth")
    from nnsight import NNsight

    parts = states.parts
    plans = {model: _plan(measures, model, parts) for model in states.names}
    of_any = frozenset().union(*(plan.wanted for plan in plans.values()))
    compared = any("frozen" in plan.streams for plan in plans.values())
    prefix = SharedPrefix(parts)
    run = _Run(NNsight(parts.peft), parts, prefix, of_any, precision)
    with _no_gradients(parts), whole_float32():
        for batch in bar(batches, "tracing", total):
            prefix.forget()
            reference: list[Tensor] | None = None
            for model, plan in plans.items():
                keep = "own" in plan.streams or (model == "frozen" and compared)
                if not keep and not plan.replaying and not plan.wanted:
                    continue
                with states.enter(model):
                    resid_pre = _trace_one(run, model, plan, batch, keep)
                    if model == "frozen" and compared:
                        reference = resid_pre
                    if plan.replaying:
                        _replay(parts, model, batch, plan.replaying, resid_pre, reference, prefix.alike, precision)


def computed(measures: Mapping[str, Measure]) -> dict[str, pd.DataFrame]:
    """The tables of all measures after a pass.

    Where the pass ran on a GPU, what comes after it is partly that one's, partly the host's, so it is done side by
    side; on the host alone it would only share its cores.
    """
    if not has_cuda() or len(measures) < 2:
        found = [measure.compute() for measure in measures.values()]
    else:
        with one_thread(), ThreadPoolExecutor(len(measures)) as pool:
            found = [future.result() for future in [pool.submit(measure.compute) for measure in measures.values()]]
    return {stem: table for tables in found for stem, table in tables.items()}


class _Plan(NamedTuple):
    """What is wanted of one model: by whom which parts, all of them, who replays on which streams, and the layers with
    factors.
    """

    listeners: Sequence[tuple[Measure, frozenset[str]]]
    wanted: frozenset[str]
    replaying: Sequence[Measure]
    streams: frozenset[str]
    adapted: Sequence[tuple[int, str]]


def _plan(measures: Sequence[Measure], model: str, parts: EncoderParts) -> _Plan:
    listeners = [(measure, measure.parts(model)) for measure in measures]
    streams = [measure.replays(model) for measure in measures]
    replaying = [measure for measure, of_measure in zip(measures, streams, strict=True) if of_measure]
    wanted = frozenset().union(*(names for _, names in listeners))
    if replaying:
        wanted |= {"resid_pre"}
    return _Plan(
        listeners, wanted, replaying, frozenset().union(*streams), [] if model == "frozen" else parts.adapted()
    )


@dataclass(frozen=True)
class _Run:
    """What all models and batches of a pass share."""

    traced: Any
    parts: EncoderParts
    prefix: SharedPrefix
    of_any: frozenset[str]
    precision: str


@contextmanager
def _no_gradients(parts: EncoderParts) -> Iterator[None]:
    """No parameter takes gradients, until the block ends; then those do that did before."""
    before = [(parameter, parameter.requires_grad) for parameter in parts.peft.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, did in before:
            parameter.requires_grad_(did)


def _trace_one(run: _Run, model: str, plan: _Plan, batch: Batch, keep: bool) -> list[Tensor]:
    parts, prefix = run.parts, run.prefix
    wanted = plan.wanted | ({"resid_pre"} if keep else set())
    kept: list[Tensor] = []
    again = prefix.filled
    hearing = {name: [measure for measure, names in plan.listeners if name in names] for name in wanted}

    def give(name: str, layer: int, module: str | None, tensor: Any) -> None:
        if layer < prefix.depth and not again:
            prefix.kept[name, layer] = tensor.detach()
        if name not in wanted:
            return
        raw = tensor.detach()
        if not batch.windowed and name.startswith(("lora", "grad")):
            # what such an encoder computes on padding is no part of anything: Gram matrices and flattened clips must
            # not see it
            raw = batch.silenced(raw)
        tensor = _single(raw)
        if keep and name == "resid_pre":
            kept.append(tensor)
        with _autocast(batch, "fp32"):
            part = Part(model, name, layer, module, tensor, batch, parts.final_norm, parts.apply_head, raw)
            for measure in hearing[name]:
                measure.update(part)

    adapted = plan.adapted
    gradients = bool(wanted & set(GRADIENT_PARTS)) and bool(adapted)
    weights = [parts.factors(*key)[0] for key in adapted]
    # nothing but A's weights needs a graph: it begins at the first adapted layer, and the frozen encoder below costs no
    # backward
    for weight in weights:
        weight.requires_grad_(gradients)
    adapter = str(parts.peft.active_adapter)
    stack = parts.stack(parts.root(run.traced))
    valid = batch.valid if batch.pools_valid else None

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
    with torch.set_grad_enabled(gradients), prefix.shared(), _autocast(batch, run.precision):  # noqa: SIM117
        with run.traced.trace(batch.features, valid=valid):
            for layer in range(parts.layers):
                if layer < prefix.depth and again:
                    for name in BLOCK_PARTS:
                        give(name, layer, None, prefix.kept.get((name, layer)))
                    continue
                block = stack.layers[layer]
                here = wanted if layer >= prefix.depth else run.of_any
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
                if "resid_post" in here or ((keep or "final_norm" in wanted) and layer == parts.layers - 1):
                    stream = parts.block_output(block.output)
                    give("resid_post", layer, None, stream)
            if keep:
                kept.append(_single(stream.detach()))
            if "final_norm" in wanted:
                give("final_norm", parts.layers, None, parts.final_norm(stream))
            logits = run.traced.output.logits
            give("logits", parts.layers, None, logits)
            if gradients:
                with _autocast(batch, "fp32"):
                    loss = torch.nn.functional.cross_entropy(_single(logits), batch.labels, reduction="sum")
                torch.autograd.grad(loss, weights, allow_unused=True)
    for weight in weights:
        weight.requires_grad_(False)
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

    def block(layer: int, hidden: Tensor, adapted: bool = True) -> Block:
        with _autocast(batch, precision), parts.adapter(adapted):
            found = parts.run_block(layer, hidden, valid)
        return Block(*(_single(part) for part in found))

    def run(layer: int, hidden: Tensor, change: Intervention, before: Sequence[Tensor]) -> Tensor:
        with _autocast(batch, precision):
            return _single(answer(parts, layer, hidden, valid, change, before))

    def heads(layer: int, hidden: Tensor) -> list[Tensor]:
        with _autocast(batch, precision):
            return [_single(output) for output in head_outputs(parts, layer, hidden, valid)]

    def direct(added: Tensor, final: Tensor) -> Tensor:
        return direct_logits(parts, added, final, valid)

    def encode(layer: int, hidden: Tensor, change: Intervention) -> Tensor:
        with _autocast(batch, precision):
            return _single(encoded(parts, layer, hidden, valid, change))

    # with something else of a block adapted, it is not the frozen one where these are off
    adapted = tuple(turnable(parts)) if turns_all(parts) else ()
    replay = Replay(model, batch, resid_pre, reference, block, run, shared, adapted, heads, direct, encode)
    with torch.no_grad():
        for measure in measures:
            measure.replay(replay)


def _autocast(batch: Batch, precision: str) -> torch.autocast:
    """The models' arithmetic in bfloat16 where `precision` says so; that of the measures, and else, as tensors are."""
    return torch.autocast(batch.features.device.type, torch.bfloat16, enabled=precision == "bf16")


def _single(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
