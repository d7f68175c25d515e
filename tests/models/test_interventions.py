"""Interventions against plain hooks and edited weights, on all four families; afterwards the model is as it was."""

from __future__ import annotations

import pytest
import torch

from lorascope.analysis.measure import Batch, Replay
from lorascope.models.families.known import parts_of
from lorascope.models.interventions import Intervention, answer
from lorascope.models.weights.backbone import load_backbone

from ..tiny import mels, plain_adapter, tiny_whisper
from ..waveforms import KINDS, padded, tiny_waveform_model, waves

LAYERS = 3
TARGETS = ("q_proj", "v_proj", "out_proj", "fc1", "fc2", "intermediate_dense", "output_dense")


class Case:
    """One adapted model with a batch, its streams, and its blocks' parts, by hooks."""

    def __init__(self, peft, features, valid) -> None:
        self.peft, self.features, self.valid = peft, features, valid
        self.parts = parts_of(peft)
        self.own = self.streams()
        with peft.disable_adapter():
            self.frozen = self.streams()

    def logits(self, at=None):
        """Logits of the model's own forward, with the hooks `at[layer, part]` in place."""
        handles = [self.module(*key).register_forward_hook(hook) for key, hook in (at or {}).items()]
        try:
            with torch.no_grad():
                return self.peft(self.features, valid=self.valid).logits
        finally:
            for handle in handles:
                handle.remove()

    def module(self, layer, part):
        block = self.parts.blocks[layer]
        return {"block": block, "attn_out": getattr(block, self.parts.attention)}.get(
            part, getattr(block, self.parts.mlp)
        )

    def streams(self):
        """The input of every block, and what its attention and MLP give."""
        found, handles = {}, []
        for layer, block in enumerate(self.parts.blocks):
            keep = lambda _, inputs, named, layer=layer: found.update(  # noqa: E731
                {(layer, "resid_pre"): inputs[0] if inputs else named["hidden_states"]}
            )
            handles.append(block.register_forward_pre_hook(keep, with_kwargs=True))
            for part in ("attn_out", "mlp_out"):
                note = lambda _, __, output, key=(layer, part): found.update({key: first(output)})  # noqa: E731
                handles.append(self.module(layer, part).register_forward_hook(note))
            last = lambda _, __, output: found.update({(LAYERS, "resid_pre"): first(output)})  # noqa: E731
        handles.append(block.register_forward_hook(last))
        with torch.no_grad():
            self.peft(self.features, valid=self.valid)
        for handle in handles:
            handle.remove()
        return found

    def replay(self, counted=None):
        """The replay that tracing offers; `counted` takes the number of every block that is run."""

        def run(layer, hidden, change, _=None):
            if counted is not None:
                counted.extend(number for number in range(layer, LAYERS) if number not in change.skipped)
            with torch.no_grad():
                return answer(self.parts, layer, hidden, self.valid, change)

        streams = [[each[layer, "resid_pre"] for layer in range(LAYERS + 1)] for each in (self.own, self.frozen)]
        rows, frames = torch.arange(2), streams[0][0].shape[1]
        batch = Batch(rows, self.features, frames, self.valid, rows, True)
        adapted = tuple(self.parts.adapted())
        return Replay("trained", batch, streams[0], streams[1], lambda *_: None, run, 1, adapted)  # pyright: ignore


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.fixture(scope="module", params=[("whisper", ""), *KINDS], ids="-".join)
def case(request, tmp_path_factory):
    family, layout = request.param
    folder = tmp_path_factory.mktemp(family)
    valid = torch.tensor([31, 12])
    if family == "whisper":
        tiny_whisper(layers=LAYERS).save_pretrained(folder)
        features = mels(2, 40)
    else:
        tiny_waveform_model(family, layout, LAYERS).save_pretrained(folder)
        features = padded(waves([31, 12]), 40)
    model = load_backbone(str(folder)).model
    return Case(plain_adapter(model, targets=[name for name in TARGETS if any_named(model, name)]), features, valid)


def any_named(model, name):
    return any(path.endswith(f".{name}") for path, _ in model.named_modules())


def close(found, expected):
    return torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_gains_are_scaled_factors(case):
    gains = {key: 0.3 for key in case.parts.adapted() if key[0] == 1} | {(2, "v_proj"): 0.0}
    found = case.replay().answer(Intervention(gains=gains))
    intact = case.logits()
    assert not close(found, intact)
    scaled = [case.parts.linear(*key) for key in gains]
    before = [linear.scaling["default"] for linear in scaled]
    for linear, gain in zip(scaled, gains.values(), strict=True):
        linear.scaling["default"] *= gain
    expected = case.logits()
    for linear, scale in zip(scaled, before, strict=True):
        linear.scaling["default"] = scale
    assert close(found, expected)
    assert torch.equal(case.logits(), intact)


def test_everything_off_is_the_frozen_encoder_under_the_adapters_head(case):
    gains = dict.fromkeys(case.parts.adapted(), 0.0)
    found = case.replay().answer(Intervention(gains=gains))
    final = case.parts.final_norm(case.frozen[LAYERS, "resid_pre"])
    pooled = torch.stack([clip[:count].mean(0) for clip, count in zip(final, case.valid, strict=True)])
    with torch.no_grad():
        assert close(found, case.parts.apply_head(pooled))


def test_other_factors_stand_instead(case):
    key = (1, "v_proj")
    a, b, _ = case.parts.factors(*key)
    halves = Intervention(factors={key: (a.detach() * 2, b.detach() / 2)})
    assert close(case.replay().answer(halves), case.logits())
    first_only = Intervention(factors={key: (a.detach()[:1], b.detach()[:, :1])})
    gone = b.detach().clone()
    with torch.no_grad():
        b[:, 1:] = 0
        expected = case.logits()
        b.copy_(gone)
    assert close(case.replay().answer(first_only), expected)


@pytest.mark.parametrize("part", ["attn_out", "mlp_out"])
def test_a_replaced_part_is_what_a_hook_gives(case, part):
    other = case.frozen[1, part]
    found = case.replay().answer(Intervention(streams={(1, part): other}))
    hook = lambda _, __, output: (other, *output[1:]) if isinstance(output, tuple) else other  # noqa: E731
    assert close(found, case.logits(at={(1, part): hook}))
    assert not close(found, case.logits())


def test_skipped_blocks_and_replaced_inputs(case):
    found = case.replay().answer(Intervention(skipped=frozenset({0, 1})))
    give = case.own[0, "resid_pre"]
    hook = lambda _, __, output: (give, *output[1:]) if isinstance(output, tuple) else give  # noqa: E731
    assert close(found, case.logits(at={(1, "block"): hook}))
    patched = Intervention(streams={(2, "resid_pre"): give})
    assert close(case.replay().answer(patched), found)
    assert close(
        case.replay().answer(Intervention(streams={(LAYERS, "resid_pre"): case.own[LAYERS, "resid_pre"]})),
        case.logits(),
    )


def test_the_frozen_model_may_receive(case):
    with case.peft.disable_adapter():
        expected = case.logits()
    assert close(case.replay().answer(Intervention(adapted=False)), expected)
    with case.peft.disable_adapter():
        give = case.own[1, "attn_out"]
        hook = lambda _, __, output: (give, *output[1:]) if isinstance(output, tuple) else give  # noqa: E731
        expected = case.logits(at={(1, "attn_out"): hook})
    found = case.replay().answer(Intervention(streams={(1, "attn_out"): give}, adapted=False))
    assert close(found, expected)


def test_a_sweep_over_all_blocks_costs_half_of_them_each(case):
    """Blocks that run, counted: (L + 1) / 2 forwards for one at a time, off or on alone, and the first or last k on."""
    keys = case.parts.adapted()
    sweeps = {
        "one off": [{key: 0.0 for key in keys if key[0] == layer} for layer in range(LAYERS)],
        "one on": [{key: 0.0 for key in keys if key[0] != layer} for layer in range(LAYERS)],
        "first on": [{key: 0.0 for key in keys if key[0] > layer} for layer in range(LAYERS - 1)],
        "last on": [{key: 0.0 for key in keys if key[0] < layer} for layer in range(1, LAYERS)],
    }
    for name, sweep in sweeps.items():
        counted = []
        for gains in sweep:
            case.replay(counted).answer(Intervention(gains=gains))
        assert len(counted) <= LAYERS * (LAYERS + 1) / 2, name


def test_a_model_that_differs_elsewhere_is_run_from_its_own_stream(case):
    """Where more than the blocks' adapted layers is changed, the frozen stream is no stream with the adapter off."""
    gains = {key: 0.0 for key in case.parts.adapted() if key[0] < 2}
    counted = []
    replay = case.replay(counted)
    object.__setattr__(replay, "shared", 0)
    found = replay.answer(Intervention(gains=gains))
    assert counted == [0, 1, 2]
    assert close(found, case.replay().answer(Intervention(gains=gains)))
