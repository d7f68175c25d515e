"""Tracing and all measures on wav2vec 2.0, HuBERT and WavLM in both layouts, against plain hooks and
autograd, one clip at a time.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch

from lorascope.analysis.batches import BatchLimits, batches_of
from lorascope.analysis.measures import MEASURES
from lorascope.analysis.one_pass import trace
from lorascope.analysis.states import ModelStates
from lorascope.analysis.study import study_of
from lorascope.experiment.config import MEASURES as DEFAULT
from lorascope.models.families.known import parts_of
from lorascope.models.weights.backbone import load_backbone

from ...tiny import CLASSES, plain_adapter
from ...waveforms import KINDS, tiny_waveform_model, waves

CLIPS, LAYERS, RANK = 12, 2, 4
PATHS = {"v_proj": "attention.v_proj", "fc1": "feed_forward.intermediate_dense"}
STOCK_NAMES = [path.rsplit(".", 1)[1] for path in PATHS.values()]
FRAMES = {f"c{i:02d}": 14 + i for i in range(CLIPS)}
CONTEXTS = {name: 20 if count <= 20 else 30 for name, count in FRAMES.items()}
PARTS = {
    ("A", "activation"): "lora_a",
    ("B", "activation"): "lora_b",
    ("A", "gradient"): "grad_lora_a",
    ("B", "gradient"): "grad_lora_b",
}


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def analysed(request, tmp_path_factory):
    """(clips, parts of every clip by plain hooks, tables of all measures, whether LayerNorms lie on the stream)."""
    family, layout = request.param
    folder = tmp_path_factory.mktemp(family)
    tiny_waveform_model(family, layout, LAYERS).save_pretrained(folder)
    peft = plain_adapter(load_backbone(str(folder)).model, rank=RANK, targets=STOCK_NAMES)
    clips = pd.DataFrame(
        {
            "clip": list(FRAMES),
            "speaker": [f"s{i % 2}" for i in range(CLIPS)],
            "emotion": [CLASSES[i % 4] for i in range(CLIPS)],
            "label": [i % 4 for i in range(CLIPS)],
            "frames": list(FRAMES.values()),
        }
    )
    sounds = dict(zip(FRAMES, waves(list(FRAMES.values())), strict=True))
    stored = by_hooks(peft, family, clips, sounds)
    head = {
        f"{part}.{kind}": torch.randn(shape) * 0.3
        for part, rows, columns in (("projector", 16, 32), ("classifier", 4, 16))
        for kind, shape in (("weight", (rows, columns)), ("bias", (rows,)))
    }

    def window(clip: str, frames: int) -> torch.Tensor:
        return torch.nn.functional.pad(sounds[clip], (0, 320 * frames + 80 - len(sounds[clip])))

    states = ModelStates(parts_of(peft), head, ("gaussian",))
    study = study_of(states, clips, CLASSES, seed=42, draws=20)
    # the rank space costs most, and is no other in the two layouts
    measures = {name: MEASURES[name](study) for name in DEFAULT if name != "ranks" or layout == "large"}
    trace(
        states,
        batches_of(clips, window, CONTEXTS, BatchLimits(5), pools_valid=True, windowed=False),
        list(measures.values()),
    )
    tables = {stem: table for measure in measures.values() for stem, table in measure.compute().items()}
    assert study.post_norm == (layout == "base")
    return clips, stored, tables, layout == "base"


def by_hooks(peft, family, clips, sounds):
    """Parts of the adapted model on each clip alone, without padding: `parts[name, layer, module]` a list of
    [frames, width] by clip.
    """
    found, handles = defaultdict(list), []

    def keep(key, which=lambda inputs, output: output):
        def hook(_, inputs, named, output):
            tensor = which(inputs or (named["hidden_states"],), output)
            found[key].append(tensor.detach()[0].double().numpy())
            if key[0].startswith("lora"):
                gradients = found[f"grad_{key[0]}", *key[1:]]
                tensor.register_hook(lambda g: gradients.append(g[0].double().numpy()))

        return hook

    def first(_, output):
        return output[0] if isinstance(output, tuple) else output

    for layer, block in enumerate(getattr(peft.get_base_model(), family).encoder.layers):
        hooks = [
            (block, ("resid_pre", layer, None), lambda inputs, _: inputs[0]),
            (block.attention, ("attn_out", layer, None), first),
            (block.layer_norm, ("mid", layer, None), first),
            (block.feed_forward, ("mlp_out", layer, None), first),
            (block, ("resid_post", layer, None), first),
        ]
        for module, path in PATHS.items():
            linear = block.get_submodule(path)
            hooks += [
                (getattr(linear, f"lora_{x}")["default"], (f"lora_{x.lower()}", layer, module), first) for x in "AB"
            ]
        handles += [m.register_forward_hook(keep(key, which), with_kwargs=True) for m, key, which in hooks]
    for row in clips.itertuples():
        logits = peft(input_features=sounds[row.clip][None]).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([row.label])).backward()
        found["logits"].append(logits.detach()[0].double().numpy())
    for handle in handles:
        handle.remove()
    peft.zero_grad()
    return found


@pytest.mark.parametrize(("factor", "quantity"), list(PARTS))
def test_streaming_spectra_are_the_svd_of_the_stored_parts(analysed, factor, quantity):
    _, stored, tables, _ = analysed
    table = tables["spectra"].set_index(["model", "layer", "module", "factor", "quantity", "variant"]).sort_index()
    for layer in range(LAYERS):
        for module in PATHS:
            power = np.linalg.svd(np.concatenate(stored[PARTS[factor, quantity], layer, module]), compute_uv=False) ** 2
            ours = table.loc["trained", layer, module, factor, quantity, "corrected"].sort_values("index")["energy"]
            np.testing.assert_allclose(ours, (np.cumsum(power) / power.sum())[: len(ours)], atol=1e-5)


def test_contribution_is_the_ratio_of_the_stored_parts(analysed):
    _, stored, tables, post_norm = analysed
    table = tables["contribution"].set_index(["model", "layer", "component", "variant", "frames"]).sort_index()
    for layer in range(LAYERS):
        h, a, m, out = (stored[name, layer, None] for name in ("resid_pre", "attn_out", "mlp_out", "resid_post"))
        middle = stored["mid", layer, None] if post_norm else [x + y for x, y in zip(h, a, strict=True)]
        expected = {
            "attn": mean_ratio(a, h),
            "mlp": mean_ratio(m, middle),
            "block": mean_ratio([y - x for x, y in zip(h, out, strict=True)], h),
        }
        for component, ratio in expected.items():
            found = table.loc["trained", layer, component, "corrected", "valid"]["ratio"]
            assert found == pytest.approx(ratio, rel=1e-4), component
    for component in ("attn", "mlp", "block"):
        same, plain = (table.loc["difference", 0, component, v, "valid"]["ratio"] for v in ("same-input", "corrected"))
        assert same == pytest.approx(plain, abs=1e-5) and abs(plain) > 1e-4


def test_padding_is_no_frame_of_theirs(analysed):
    """Frames that such an encoder doesn't see change neither the means over all frames nor
    the spectra of all frames.
    """
    _, _, tables, _ = analysed
    both = tables["contribution"].pivot_table(
        index=["model", "layer", "component", "variant"], columns="frames", values="ratio"
    )
    np.testing.assert_allclose(both["all"], both["valid"], rtol=1e-6)
    energy = tables["spectra"].pivot_table(
        index=["model", "layer", "module", "factor", "quantity", "index"], columns="variant", values="energy"
    )
    np.testing.assert_allclose(energy["paper"], energy["corrected"], atol=1e-6)


def mean_ratio(added, base):
    ratios = [np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1) for x, y in zip(added, base, strict=True)]
    return np.mean([clip.mean() for clip in ratios])


def test_the_lens_of_the_last_layer_is_the_models_output(analysed):
    clips, stored, tables, post_norm = analysed
    table = tables["lens"].set_index(["model", "layer", "variant"])
    predicted = np.array(stored["logits"]).argmax(1)
    for model in ("frozen", "trained"):
        last = table.loc[(model, LAYERS, "corrected")]
        assert last["kl"] == pytest.approx(0, abs=1e-9) and last["overlap"] == 1
        if post_norm:  # no final LayerNorm, so nothing to leave out
            assert table.loc[(model, LAYERS, "paper")]["kl"] == pytest.approx(0, abs=1e-9)
    assert table.loc[("trained", LAYERS, "corrected")]["accuracy"] == np.mean(predicted == clips["label"])


def test_erasure_of_nothing_is_the_model(analysed):
    clips, stored, tables, _ = analysed
    table = tables["erasure"].set_index(["model", "mode", "layer"]).sort_index()
    logits = torch.tensor(np.array(stored["logits"]))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(clips["label"].to_numpy()))
    assert table.loc["trained", "none", -1]["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert len(table) == 2 * (1 + 2 * LAYERS)


def test_rank_space_and_cka_have_every_adapted_module(analysed):
    _, _, tables, post_norm = analysed
    assert set(tables["cka"]["module"]) == set(PATHS)
    assert post_norm or set(tables["ranks"]["module"]) == set(PATHS)
    assert set(tables["cka"]["layer"]) == set(range(LAYERS))
