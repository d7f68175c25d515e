"""All five analyses against the plain way of computing the same numbers: time, and memory beyond a
bare forward and backward.

    python benchmarks/against_plain.py [--backbone whisper-base] [--clips 40]

The plain way is written here from docs/methods.md: in the 30 s window, one clip at a time, a pass for each measure (two
for the contributions), every activation and gradient kept until the measure is computed, singular values of the whole
matrices, CKA of flattened clips; contributions and lens of all three models (trained, one random, frozen), the rest of
the two with an adapter, as lorascope has them. lorascope runs in the same window and on trimmed clips, and computes its
other variants, intervals and nulls besides. Numbers of the `paper` variants are held against each other in the same run
(the plain way with its full window; spectra and CKA on the clips as they are). It takes a while, so each way runs once,
in bf16 too where the processor has its arithmetic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from analysed import Analysed
from measure import arguments, goal, has_bf16, peak_memory, timed
from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div, log_softmax

MODELS = ("frozen", "trained", "gaussian")
ADAPTED = ("trained", "gaussian")
#: (model, layer, name) -> a tensor for every clip, [frames, width]
Kept = dict[tuple[str, int, str], list[Tensor]]


class Plain:
    """The plain way, on the models and clips of an analysis."""

    def __init__(self, of: Analysed) -> None:
        self.of = of
        self.batches = of.in_batches("full", 1)

    def __call__(self) -> dict[str, Any]:
        """The numbers of all five analyses."""
        return {
            **self.contribution(),
            **self.lens(),
            **self.rank_space(),
            **self.gradients(),
        }

    def contribution(self) -> dict[str, Any]:
        """Mean ratio and cosine of attention and MLP, a pass for each."""
        found = {}
        for component, name in (("attn", "attn_out"), ("mlp", "mlp_out")):
            kept = self.passes(MODELS, ("resid_pre", name))
            for model in MODELS:
                for layer in range(self.of.parts.layers):
                    pairs = list(zip(kept[model, layer, name], kept[model, layer, "resid_pre"], strict=True))
                    ratio = np.mean([(a.norm(dim=-1) / h.norm(dim=-1)).mean().item() for a, h in pairs])
                    cosine = np.mean([cosine_similarity(a, h, dim=-1).mean().item() for a, h in pairs])
                    found["contribution", model, layer, component] = (ratio, cosine)
        return found

    def lens(self) -> dict[str, Any]:
        """KL of each layer's lens from the model's own prediction."""
        kept = self.passes(MODELS, ("resid_pre", "logits"))
        found = {}
        for model in MODELS:
            with self.of.states.enter(model), torch.no_grad():
                final = torch.cat(kept[model, 0, "logits"]).log_softmax(-1)
                for layer in range(self.of.parts.layers):
                    pooled = torch.stack([h.mean(0) for h in kept[model, layer, "resid_pre"]])
                    lens = log_softmax(self.of.parts.apply_head(pooled), -1)
                    found["lens", model, layer] = (kl_div(final, lens, log_target=True, reduction="batchmean").item(),)
        return found

    def rank_space(self) -> dict[str, Any]:
        """The rank space's features; the t-SNE is the same in both ways, so its input is enough here."""
        kept = self.passes(ADAPTED, ("lora_a",))
        return {("ranks", *key): (torch.stack(clips).std().item(),) for key, clips in kept.items()}

    def gradients(self) -> dict[str, Any]:
        """Spectra of all four matrices and the CKA of A with B."""
        names = ("lora_a", "lora_b", "grad_lora_a", "grad_lora_b")
        kept = self.passes(ADAPTED, names, gradients=True)
        found = {}
        for key, clips in kept.items():
            power = torch.linalg.svdvals(torch.cat(clips).double()) ** 2
            found["spectra", *key] = tuple((power.cumsum(0) / power.sum())[:8].tolist())
        for model in ADAPTED:
            for layer in range(self.of.parts.layers):
                for quantity, prefix in (("activation", ""), ("gradient", "grad_")):
                    a, b = (
                        torch.stack(kept[model, layer, f"{prefix}{name}"]).flatten(1).double() for name in names[:2]
                    )
                    found["cka", model, layer, quantity] = (linear_cka(a, b),)
        return found

    def passes(self, models: Sequence[str], names: Sequence[str], gradients: bool = False) -> Kept:
        """Run the models clip by clip and keep all that is named."""
        kept: Kept = defaultdict(list)
        for model in models:
            with self.of.states.enter(model), self.of.only_a(gradients), self.hooks(model, names, kept):
                for batch in self.batches:
                    loss = self.of.loss(batch)
                    if gradients:
                        loss.backward()
        return kept

    @contextmanager
    def hooks(self, model: str, names: Sequence[str], kept: Kept) -> Iterator[None]:
        """Plain PyTorch hooks that keep what is named."""
        parts, handles = self.of.parts, []

        def keep(layer: int, name: str) -> Callable[..., None]:
            def hook(_: Any, inputs: Any, output: Any) -> None:
                tensor = inputs[0] if name == "resid_pre" else output[0] if isinstance(output, tuple) else output
                tensor = getattr(tensor, "logits", tensor)
                if name in names:
                    kept[model, layer, name].append(tensor.detach() if name == "logits" else tensor.detach()[0])
                if f"grad_{name}" in names:
                    tensor.register_hook(lambda grad: kept[model, layer, f"grad_{name}"].append(grad[0]))

            return hook

        for layer, block in enumerate(parts.blocks):
            places = {"resid_pre": block, "attn_out": block.self_attn, "mlp_out": block.fc2}
            if model != "frozen":
                linear = parts.linear(layer, "v_proj")
                places |= {"lora_a": linear.lora_A["default"], "lora_b": linear.lora_B["default"]}
            for name, module in places.items():
                if name in names or f"grad_{name}" in names:
                    handles.append(module.register_forward_hook(keep(layer, name)))
        if "logits" in names:
            handles.append(self.of.model.register_forward_hook(keep(0, "logits")))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def linear_cka(x: Tensor, y: Tensor) -> float:
    """CKA of two sets of flattened clips, [clips, columns] each, by their inner products (biased)."""
    k, m = (z @ z.T for z in (x - x.mean(0), y - y.mean(0)))
    return float((k * m).sum() / (k.norm() * m.norm()))


def differences(plain: dict[str, Any], tables: dict[str, Any]) -> dict[str, float]:
    """Largest difference of each measure's numbers from the plain way's, relative to 1 or the number
    itself where that is larger.
    """
    contribution = tables["contribution"].query("variant == 'paper' and frames == 'all'")
    contribution = contribution.set_index(["model", "layer", "component"])
    lens = tables["lens"].query("variant == 'paper'").set_index(["model", "layer"])
    spectra = tables["spectra"].query("variant == 'paper'").set_index(["model", "layer", "factor", "quantity"])
    cka = tables["cka"].query("variant == 'paper'").set_index(["pair", "layer", "quantity"])
    worst: dict[str, float] = defaultdict(float)
    for (measure, model, layer, *rest), numbers in plain.items():
        if measure == "contribution":
            ours = contribution.loc[(model, layer, rest[0]), ["ratio", "cosine"]].to_numpy(float)
        elif measure == "lens":
            ours = [lens.loc[(model, layer), "kl"]]
        elif measure == "spectra":
            quantity = "gradient" if rest[0].startswith("grad") else "activation"
            ours = spectra.loc[(model, layer, rest[0][-1].upper(), quantity), "energy"].to_numpy()[: len(numbers)]
        elif measure == "cka":
            ours = [cka.loc[(f"A~B:{model}", layer, rest[0]), "value"]]
        else:
            continue
        theirs = np.asarray(numbers, float)[: len(ours)]
        gap = np.abs(np.asarray(ours, float) - theirs) / np.maximum(np.abs(theirs), 1)
        worst[measure] = max(worst[measure], float(gap.max()))
    return dict(worst)


def main(argv: Sequence[str] | None = None) -> None:
    """Run each way once, and compare."""
    found = arguments(__doc__ or "", argv, clips=40, draws=500, memory_mib=64)
    if not found.backbone and not found.quick:
        found.backbone = "whisper-base"
    results: dict[str, Any] = {}
    seconds: dict[str, tuple[float, float]] = {}
    memory: dict[str, float] = {}

    def run(name: str, function: Callable[[], Any]) -> None:
        def timing() -> None:
            def keep() -> None:
                results[name] = function()

            seconds[name] = timed(keep)

        memory[name] = peak_memory(timing)
        print(f"{name}: {seconds[name][0]:.1f} s, CPU {seconds[name][1]:.1f} s, {memory[name] / 2**20:.0f} MiB")

    full, trim = Analysed.of(found, "full"), Analysed.of(found, "trim")
    one = full.in_batches("full", 1)[:1]

    def bare(batch: Any) -> None:
        with full.states.enter("trained"), full.only_a(True):
            full.loss(batch).backward()

    run("warm", lambda: bare(one[0]))
    run("bare, one clip", lambda: bare(one[0]))
    run("bare, a batch", lambda: bare(next(iter(full.batches))))
    run("bare, all, trimmed", trim.bare)
    run("trimmed", trim.analysed)
    run("30 s", full.analysed)
    run("plain", Plain(full))
    for measure, gap in differences(results["plain"], results["30 s"]).items():
        goal(f"equal numbers: {measure}", gap, at_most=1e-3, unit="", note="largest relative difference")
    index = 1 if torch.get_num_threads() == 1 and not torch.cuda.is_available() else 0
    goal("30 s, float32, over plain", seconds["plain"][index] / seconds["30 s"][index], at_least=2.1)
    goal("trimmed, float32, over plain", seconds["plain"][index] / seconds["trimmed"][index], at_least=22)
    extra = max(memory["30 s"] - memory["bare, a batch"], 0)
    share = extra / (memory["plain"] - memory["bare, one clip"])
    goal("30 s, extra memory over plain's", share, at_most=0.05, unit="", note=f"{extra / 2**20:.0f} MiB")
    # without bf16 arithmetic it would take hours and say nothing
    if has_bf16():
        for name, of, wanted in (("30 s", full, 4), ("trimmed", trim, 40)):
            run(f"{name}, bf16", lambda of=of: of.analysed("bf16"))
            over = seconds["plain"][index] / seconds[f"{name}, bf16"][index]
            goal(f"{name}, bf16, over plain", over, at_least=wanted)


if __name__ == "__main__":
    main()
