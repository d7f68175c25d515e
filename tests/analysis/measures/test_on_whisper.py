"""All default measures in one traced pass over a small random Whisper, against what plain hooks and autograd
give for the same clips.

Nothing of tracing or of the measures is used to make the reference: PyTorch hooks on the PEFT
model, one clip at a time.
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
from lorascope.models.families.whisper import WhisperClassifier, WhisperParts

from ...tiny import CLASSES, mels, plain_adapter, tiny_whisper
from .test_cka import cka, hsic_biased, hsic_unbiased

CLIPS, LAYERS, RANK = 12, 3, 4
CONTEXTS = {f"c{i:02d}": 40 if i % 3 else 60 for i in range(CLIPS)}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    tiny_whisper(layers=LAYERS).save_pretrained(folder)
    peft = plain_adapter(WhisperClassifier.from_pretrained(folder).eval(), rank=RANK)
    names = list(CONTEXTS)
    clips = pd.DataFrame(
        {
            "clip": names,
            "speaker": [f"s{i % 2}" for i in range(CLIPS)],
            "emotion": [CLASSES[i % 4] for i in range(CLIPS)],
            "label": [i % 4 for i in range(CLIPS)],
            "frames": [25 + i for i in range(CLIPS)],
        }
    )
    features = {name: mels(1, CONTEXTS[name], seed=i)[0] for i, name in enumerate(names)}
    stored = by_hooks(peft, clips, features)
    head = {
        f"{part}.{kind}": torch.randn(shape) * 0.3
        for part, rows, columns in (("projector", 16, 32), ("classifier", 4, 16))
        for kind, shape in (("weight", (rows, columns)), ("bias", (rows,)))
    }
    states = ModelStates(WhisperParts(peft), head, ("gaussian", "peft-init"))
    study = study_of(states, clips, CLASSES, seed=42, draws=20)
    measures = {name: MEASURES[name](study) for name in DEFAULT}
    batches = batches_of(clips, lambda clip, _: features[clip], CONTEXTS, BatchLimits(5), pools_valid=True)
    trace(states, batches, list(measures.values()))
    tables = {stem: table for measure in measures.values() for stem, table in measure.compute().items()}
    return clips, stored, tables


def by_hooks(peft, clips, features):
    """Parts of the adapted model, `parts[name, layer]` a list of [frames, width] by clip."""
    found = defaultdict(list)
    handles = []

    def keep(name, layer, which):
        def hook(_, inputs, output):
            tensor = which(inputs, output)
            found[name, layer].append(tensor.detach()[0].double().numpy())
            if name.startswith("lora") and tensor.requires_grad:
                gradients = found[f"grad_{name}", layer]
                tensor.register_hook(lambda g: gradients.append(g[0].double().numpy()))

        return hook

    model = peft.get_base_model()
    for layer, block in enumerate(model.encoder.layers):
        linear = block.self_attn.v_proj
        for name, module, which in (
            ("resid_pre", block, lambda inputs, _: inputs[0]),
            ("attn_out", block.self_attn, lambda _, output: output[0]),
            ("mlp_out", block.fc2, lambda _, output: output),
            ("resid_post", block, lambda _, output: output[0] if isinstance(output, tuple) else output),
            ("lora_a", linear.lora_A["default"], lambda _, output: output),
            ("lora_b", linear.lora_B["default"], lambda _, output: output),
        ):
            handles.append(module.register_forward_hook(keep(name, layer, which)))
    for row in clips.itertuples():
        logits = peft(input_features=features[row.clip][None], valid=torch.tensor([row.frames])).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([row.label])).backward()
        found["logits", None].append(logits.detach()[0].double().numpy())
    for handle in handles:
        handle.remove()
    peft.zero_grad()
    return found


def valid(analysed, name, layer):
    clips, stored, _ = analysed
    return [x[:n] for x, n in zip(stored[name, layer], clips["frames"], strict=True)]


PARTS = {
    ("A", "activation"): "lora_a",
    ("B", "activation"): "lora_b",
    ("A", "gradient"): "grad_lora_a",
    ("B", "gradient"): "grad_lora_b",
}


@pytest.mark.parametrize(("factor", "quantity"), list(PARTS))
def test_streaming_spectra_are_the_svd_of_the_stored_parts(analysed, factor, quantity):
    _, stored, tables = analysed
    table = tables["spectra"].set_index(["model", "layer", "factor", "quantity", "variant"]).sort_index()
    for layer in range(LAYERS):
        part = PARTS[factor, quantity]
        for variant, rows in (("paper", stored[part, layer]), ("corrected", valid(analysed, part, layer))):
            power = np.linalg.svd(np.concatenate(rows), compute_uv=False) ** 2
            ours = table.loc["trained", layer, factor, quantity, variant].sort_values("index")["energy"].to_numpy()
            np.testing.assert_allclose(ours, (np.cumsum(power) / power.sum())[: len(ours)], atol=1e-5)


@pytest.mark.parametrize("quantity", ["activation", "gradient"])
def test_cka_is_the_formula_on_the_stored_parts(analysed, quantity):
    _, stored, tables = analysed
    table = tables["cka"].set_index(["layer", "pair", "quantity", "kernel", "variant"]).sort_index()
    for layer in range(LAYERS):
        parts = [PARTS[factor, quantity] for factor in "AB"]
        x, y = (np.array([clip.mean(0) for clip in valid(analysed, part, layer)]) for part in parts)
        expected = cka(hsic_unbiased, x @ x.T, y @ y.T)
        found = table.loc[layer, "A~B:trained", quantity]
        assert found.loc["linear", "corrected"]["value"] == pytest.approx(expected, abs=1e-5)
        x, y = (
            np.array([np.pad(clip, ((0, 60 - len(clip)), (0, 0))).ravel() for clip in stored[part, layer]])
            for part in parts
        )
        expected = cka(hsic_biased, x @ x.T, y @ y.T)
        assert found.loc["linear", "paper"]["value"] == pytest.approx(expected, abs=1e-5)


def test_the_lens_of_the_last_layer_is_the_models_output(analysed):
    clips, stored, tables = analysed
    table = tables["lens"].set_index(["model", "layer", "variant"])
    logits = np.array(stored["logits", None])
    for model in ("frozen", "trained"):
        last = table.loc[(model, LAYERS, "corrected")]
        assert last["kl"] == pytest.approx(0, abs=1e-9) and last["overlap"] == 1
    assert table.loc[("trained", LAYERS, "corrected")]["accuracy"] == np.mean(logits.argmax(1) == clips["label"])


def test_contribution_is_the_ratio_of_the_stored_parts(analysed):
    _, _, tables = analysed
    table = tables["contribution"].set_index(["model", "layer", "component", "variant", "frames"]).sort_index()
    for layer in range(LAYERS):
        h, a, m = (valid(analysed, name, layer) for name in ("resid_pre", "attn_out", "mlp_out"))
        norm = [np.linalg.norm(y, axis=1) / np.linalg.norm(x + z, axis=1) for x, y, z in zip(h, m, a, strict=True)]
        expected = np.mean([clip.mean() for clip in norm])
        assert table.loc["trained", layer, "mlp", "corrected", "valid"]["ratio"] == pytest.approx(expected, rel=1e-4)
    assert not tables["contribution"]["ratio"].isna().any()
    # layer 0 is fed the same by both models, so there the same-input difference is the plain one
    for component in ("attn", "mlp", "block"):
        same, plain = (table.loc["difference", 0, component, v, "valid"]["ratio"] for v in ("same-input", "corrected"))
        assert same == pytest.approx(plain, abs=1e-5) and abs(plain) > 1e-4


def test_erasure_of_nothing_is_the_model(analysed):
    clips, stored, tables = analysed
    table = tables["erasure"].set_index(["model", "mode", "layer"]).sort_index()
    logits = torch.tensor(np.array(stored["logits", None]))
    intact = table.loc["trained", "none", -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(clips["label"].to_numpy()))
    assert intact["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert set(table.index.get_level_values("model")) == {"trained", "frozen"}
    assert len(table) == 2 * (1 + 2 * LAYERS)


def test_rank_space_has_every_clip(analysed):
    clips, _, tables = analysed
    points = tables["ranks"]
    assert (points.groupby(["model", "layer", "variant"]).size() == len(clips)).all()
    assert (tables["rank_scores"]["rank"] == RANK).all()
