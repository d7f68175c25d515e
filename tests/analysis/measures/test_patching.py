"""Patching: the two ends are 0 and 1, a patch is what hooks give, an adapter's own layers are where the difference
enters.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorascope.analysis.measures.patching import margin
from lorascope.errors import LorascopeError

from ...waveforms import KINDS
from ..small import FRAMES, LAYERS, Small


def indexed(table):
    return table.set_index(["receiver", "part", "layer"]).sort_index()


def streams(small, adapted):
    """What every block takes and its attention and MLP give, by hooks on one forward."""
    found, handles = {}, []

    def note(key):
        return lambda _, __, output: found.update({key: output[0] if isinstance(output, tuple) else output})

    for layer, block in enumerate(small.parts.blocks):
        handles.append(block.register_forward_hook(note((layer + 1, "resid_pre"))))
        handles.append(getattr(block, small.parts.attention).register_forward_hook(note((layer, "attn_out"))))
        handles.append(getattr(block, small.parts.mlp).register_forward_hook(note((layer, "mlp_out"))))
    with small.parts.adapter(adapted):
        small.logits()
    for handle in handles:
        handle.remove()
    return found


def patched(small, key, given):
    """Logits of the adapted model with that tensor given, by a hook on its own forward."""
    layer, part = key
    block = small.parts.blocks[layer - 1 if part == "resid_pre" else layer]
    names = {"attn_out": small.parts.attention, "mlp_out": small.parts.mlp}
    module = block if part == "resid_pre" else getattr(block, names[part])
    hook = lambda _, __, output: (given, *output[1:]) if isinstance(output, tuple) else given  # noqa: E731
    handle = module.register_forward_hook(hook)
    logits = small.logits()
    handle.remove()
    return logits


@pytest.mark.parametrize(("family", "layout"), [("whisper", ""), *KINDS])
def test_shares_are_those_of_hooks_and_end_at_0_and_1(tmp_path, family, layout):
    small = Small(tmp_path, family, layout)
    table = indexed(small.tables("patching")["patching"])
    given, labels = streams(small, adapted=False), small.labels.numpy()
    whole = margin(small.logits().numpy(), labels)
    for key in ((2, "resid_pre"), (1, "attn_out"), (2, "mlp_out")):
        moved = (whole - margin(patched(small, key, given[key]).numpy(), labels)).mean()
        row = table.loc["adapted", key[1], key[0]]
        assert row["moved"] == pytest.approx(moved, abs=2e-4)
        assert row["moved_low"] <= row["moved"] <= row["moved_high"]
    for receiver in ("adapted", "frozen"):
        assert table.loc[receiver, "resid_pre", 0]["moved"] == pytest.approx(0, abs=1e-4)
        top = table.loc[receiver, "resid_pre", LAYERS]
        assert top["moved"] == top["total"] and abs(top["total"]) > 1e-3
        if not top["note"]:
            assert top["share"] == 1 and table.loc[receiver, "resid_pre", 0]["share"] == pytest.approx(0, abs=1e-3)


def test_the_frozen_model_that_receives_has_its_own_head(tmp_path):
    small = Small(tmp_path)
    table = indexed(small.tables("patching")["patching"])
    given, labels = streams(small, adapted=True)[LAYERS, "resid_pre"], small.labels.numpy()
    final = small.parts.final_norm(given).double()
    pooled = torch.stack([clip[:count].mean(0) for clip, count in zip(final, FRAMES, strict=True)])
    w = {name: tensor.double() for name, tensor in small.head.items()}

    def head(x):
        hidden = x @ w["projector.weight"].T + w["projector.bias"]
        return hidden @ w["classifier.weight"].T + w["classifier.bias"]

    with small.parts.adapter(False):
        frozen = margin(small.logits().numpy(), labels)
    moved = (margin(head(pooled).detach().numpy(), labels) - frozen).mean()
    assert table.loc["frozen", "resid_pre", LAYERS]["moved"] == pytest.approx(moved, abs=1e-4)


def test_below_the_adapter_nothing_moves(tmp_path):
    small = Small(tmp_path, targets=("v_proj",), layers_to_transform=[1, 2])
    table = indexed(small.tables("patching")["patching"])
    assert table.loc["adapted", "resid_pre", 1]["moved"] == pytest.approx(0, abs=1e-5)
    assert table.loc["adapted", "attn_out", 0]["moved"] == pytest.approx(0, abs=1e-5)
    assert abs(table.loc["adapted", "attn_out", 1]["moved"]) > 1e-4


def test_an_adapter_of_zeros_has_nothing_to_share_out(tmp_path):
    small = Small(tmp_path)
    with torch.no_grad():
        for key in small.parts.adapted():
            small.parts.factors(*key)[1].zero_()
    table = small.tables("patching")["patching"]
    adapted = table[table["receiver"] == "adapted"]
    assert adapted["share"].isna().all() and adapted["note"].str.contains("nothing to share").all()


def test_without_a_frozen_head_only_the_adapted_model_receives(tmp_path):
    table = Small(tmp_path).tables("patching", head=False)["patching"]
    assert set(table["receiver"]) == {"adapted"}


def test_margin_is_gold_less_the_best_other():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 1.0, 0.0]])
    assert margin(logits, np.array([1, 2])).tolist() == [1.0, -5.0]
    assert np.isfinite(logits).all()


def test_a_broken_clip_is_named(tmp_path):
    small = Small(tmp_path)
    small.sounds[5] = small.sounds[5] * float("nan")
    with pytest.raises(LorascopeError, match="c05"):
        small.tables("patching")
