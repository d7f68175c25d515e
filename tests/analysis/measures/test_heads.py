"""Heads: their outputs sum to attention's, their contributions with the rest's to the logits; a planted head is
found.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorascope.analysis.measures.heads import gold_margin
from lorascope.models.heads import direct_logits, head_count, head_outputs

from ...waveforms import KINDS
from ..small import FRAMES, LAYERS, Small
from .test_patching import streams

ALL = ("q_proj", "v_proj", "out_proj")
VALID = torch.tensor(FRAMES)


def inputs(small):
    """What each block takes, the last one what the final LayerNorm takes, and what attention and MLP give, by hooks."""
    found = streams(small, adapted=True)
    handle = small.parts.blocks[0].register_forward_pre_hook(
        lambda _, inputs, named: found.update({(0, "resid_pre"): inputs[0] if inputs else named["hidden_states"]}),
        with_kwargs=True,
    )
    small.logits()
    handle.remove()
    return found


@pytest.mark.parametrize(("family", "layout"), [("whisper", ""), *KINDS])
def test_heads_sum_to_attention_and_all_parts_to_the_logits(tmp_path, family, layout):
    small = Small(tmp_path, family, layout, targets=ALL)
    parts, found = small.parts, inputs(small)
    final = found[LAYERS, "resid_pre"]
    whole = torch.zeros(len(FRAMES), 4)
    with torch.no_grad():
        for layer in range(LAYERS):
            *heads, bias = head_outputs(parts, layer, found[layer, "resid_pre"], VALID)
            assert len(heads) == head_count(parts) == 4
            for clip, count in enumerate(FRAMES):
                expected = found[layer, "attn_out"][clip, :count]
                together = (sum(heads) + bias)[clip, :count]
                assert torch.allclose(together, expected, atol=1e-4 * float(expected.abs().max()))
            if not parts.post_norm:
                rest = (bias.expand_as(final), found[layer, "mlp_out"])
                whole += sum(direct_logits(parts, part, final, VALID) for part in (*heads, *rest))
        if not parts.post_norm:
            whole += direct_logits(parts, found[0, "resid_pre"], final, VALID)
            beta = parts.stack(parts.classifier).layer_norm.bias
            expected = small.logits().float() - parts.apply_head(beta)
            assert torch.allclose(whole, expected, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(("family", "layout"), [("whisper", ""), ("wavlm", "large"), ("hubert", "base")])
def test_the_tables_are_means_of_these(tmp_path, family, layout):
    small = Small(tmp_path, family, layout, targets=ALL)
    tables = small.tables("heads")
    table = tables["heads"].set_index(["model", "layer", "head"])
    found, final = inputs(small), None
    final = found[LAYERS, "resid_pre"]
    with torch.no_grad():
        *heads, _ = head_outputs(small.parts, 1, found[1, "resid_pre"], VALID)
        ratio = heads[2].norm(dim=-1) / found[1, "resid_pre"].norm(dim=-1)
        expected = np.mean([float(clip[:count].mean()) for clip, count in zip(ratio, FRAMES, strict=True)])
        row = table.loc[("trained", 1, 2)]
        assert row["ratio"] == pytest.approx(expected, rel=1e-3)
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        if small.parts.post_norm:
            assert np.isnan(row["gold"]) and "LayerNorms lie on the stream" in row["note"]
            assert tables["head_logits"].empty
            return
        logits = direct_logits(small.parts, heads[2], final, VALID).double().numpy()
    labels = small.clips["label"].to_numpy()
    assert row["gold"] == pytest.approx(gold_margin(logits, labels[None]).mean(), abs=1e-4)
    by_class = tables["head_logits"].set_index(["model", "layer", "head"]).loc[("trained", 1, 2)]
    np.testing.assert_allclose(by_class["logit"], logits.mean(axis=0), atol=1e-4)
    difference = table.loc[("difference", 1, 2)]
    assert difference["gold"] == pytest.approx(row["gold"] - table.loc[("frozen", 1, 2)]["gold"], abs=1e-6)


def test_gold_margin():
    logits = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 6.0]])
    assert gold_margin(logits, np.array([[0, 2], [1, 2]])).tolist() == [[3.0, 6.0], [-1.5, 6.0]]


def test_without_a_head_norms_alone(tmp_path):
    tables = Small(tmp_path).tables("heads", head=False)
    frozen = tables["heads"].query("model == 'frozen'")
    assert frozen["gold"].isna().all() and (frozen["note"] == "no trained head").all() and frozen["ratio"].notna().all()
    assert set(tables["head_logits"]["model"]) == {"trained"}
