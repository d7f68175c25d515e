"""Heads that sum over depths (SUPERB's, `use_weighted_layer_sum`), on stock classes of all four families."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    HubertForSequenceClassification,
    Wav2Vec2ForSequenceClassification,
    WavLMForSequenceClassification,
    WhisperForAudioClassification,
)

from lorascope.api import analyze
from lorascope.experiment.config import AnalysisConfig
from lorascope.models.adapters.opening import open_adapted
from lorascope.models.families.known import parts_of
from lorascope.models.interventions import Intervention, answer
from lorascope.models.weights.backbone import load_backbone

from ..tiny import CLASSES, enlarged, mels, tiny_config, tiny_waveform_config

HEAD = ["projector", "classifier"]
FAMILIES = {
    "whisper": WhisperForAudioClassification,
    "wav2vec2": Wav2Vec2ForSequenceClassification,
    "hubert": HubertForSequenceClassification,
    "wavlm": WavLMForSequenceClassification,
}
WAVES = torch.randn(2, 8080, generator=torch.Generator().manual_seed(0))


def summing(family, **changes):
    """A stock classifier whose weights of depths differ."""
    torch.manual_seed(0)
    if family == "whisper":
        config = tiny_config(layers=2, use_weighted_layer_sum=True)
    else:
        config = tiny_waveform_config(family, use_weighted_layer_sum=True, **changes)
    model = enlarged(FAMILIES[family](config), 3)
    with torch.no_grad():
        model.layer_weights.copy_(torch.tensor([0.3, -0.4, 1.1]))
    return model


def saved(family, root, **changes):
    """Folders of the backbone and of an adapter that PEFT wrote, and the adapted stock model."""
    model = summing(family, **changes)
    model.save_pretrained(root / "backbone")
    torch.manual_seed(1)
    # stock WavLM reads its attention's projections past adapters
    targets = ["output_dense"] if family == "wavlm" else ["v_proj"]
    peft = get_peft_model(model, LoraConfig(r=4, target_modules=targets, modules_to_save=HEAD))
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    peft.save_pretrained(root / "adapter")
    return peft.eval()


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("whisper", {}),
        ("wav2vec2", {}),
        ("wav2vec2", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
        ("hubert", {}),
        ("wavlm", {}),
    ],
)
def test_logits_are_the_stock_models_and_pieces_add_up(family, changes, tmp_path):
    peft = saved(family, tmp_path, **changes)
    features = mels(frames=1500) if family == "whisper" else WAVES
    adapted = open_adapted(load_backbone(str(tmp_path / "backbone")), tmp_path / "adapter")
    parts = parts_of(adapted.model)
    with torch.no_grad():
        stock = peft.get_base_model()(features).logits
        assert torch.allclose(adapted.model(features).logits, stock, atol=1e-4)
        streams = []
        handles = [
            block.register_forward_pre_hook(
                lambda _, inputs, named: streams.append(inputs[0] if inputs else named["hidden_states"]),
                with_kwargs=True,
            )
            for block in parts.blocks
        ]
        parts.classifier.encode(features)
        for handle in handles:
            handle.remove()
        for layer, stream in enumerate(streams):
            found = answer(parts, layer, stream, None, Intervention(), streams[:layer])
            assert torch.allclose(found, stock, atol=1e-4), layer
    assert adapted.has_head


def test_a_superb_model_trained_two_steps_is_analysed_as_plain_hooks_say(corpus, tmp_path, monkeypatch):
    """The lens of the last depth is the model's own output, and all numbers are those of plain hooks."""
    monkeypatch.setattr("lorascope.report.write_all", lambda run, _: run / "report.html")
    model = summing("wav2vec2", layerdrop=0.0)
    with torch.no_grad():
        model.save_pretrained(tmp_path / "backbone")
    peft = get_peft_model(model, LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=HEAD)).train()
    steps = torch.optim.AdamW([p for p in peft.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        loss = peft.get_base_model()(WAVES, labels=torch.tensor([0, 1])).loss
        loss.backward()
        steps.step()
        steps.zero_grad()
    peft.eval().save_pretrained(tmp_path / "adapter")
    results = analyze(
        str(tmp_path / "backbone"),
        tmp_path / "adapter",
        tmp_path / "out",
        "csv",
        root=corpus,
        config=AnalysisConfig(draws=50, clips_per_class=1, batch_size=1),
    )
    lens = results["lens"].query("model == 'trained'").set_index(["variant", "layer"])
    assert lens.loc[("corrected", 2), "kl"] < 1e-6 and lens.loc[("corrected", 2), "overlap"] == 1
    assert lens.loc[("alone", 2), "kl"] > 1e-6
    weights = torch.softmax(torch.tensor([0.3, -0.4, 1.1]), 0)
    assert torch.allclose(torch.tensor(results["layer_weights"]["weight"].to_numpy()).float(), weights, atol=1e-6)
    expected = plain_numbers(peft.get_base_model(), results, corpus, weights)
    for (variant, layer), kl in expected["lens"].items():
        assert lens.loc[(variant, layer), "kl"] == pytest.approx(kl, abs=1e-5), (variant, layer)
    erased = results["erasure"].query("model == 'trained'").set_index(["mode", "layer"])["loss"]
    assert erased["none", -1] == pytest.approx(expected["loss"], abs=1e-5)
    assert erased["single", 1] == pytest.approx(expected["without 1"], abs=1e-5)
    gradients = results["spectra_summary"].query("model == 'trained' and quantity == 'gradient' and factor == 'A'")
    assert len(gradients) and gradients["k90"].notna().all()
    assert any("weighted sum of all depths" in note for note in results.manifest["analysis"]["notes"])


def plain_numbers(model, results, corpus, weights):
    """KL of every lens, the loss, and the loss without block 1, from the stock model's hidden states, clip by clip."""
    import soundfile
    from transformers import Wav2Vec2FeatureExtractor

    lenses, losses, without = {}, [], []
    ids = results.manifest["analysis"]["clip_ids"]
    for clip in ids:
        sound = soundfile.read(corpus.parent / f"{clip}.wav")[0]
        values = Wav2Vec2FeatureExtractor()(sound, sampling_rate=16_000, return_tensors="pt").input_values
        # an encoder gets no samples beyond its last whole frame: they would count in the first normalisation over time
        frames = int(model._get_feat_extract_output_lengths(values.shape[1]))
        values = values[:, : 400 + 320 * (frames - 1)]
        gold = torch.tensor([CLASSES.index(clip.split("-")[1])])
        with torch.no_grad():
            states = model.wav2vec2(values, output_hidden_states=True).hidden_states
            pooled = torch.stack([state.mean(1)[0] for state in states])
            head = lambda x: model.classifier(model.projector(x))  # noqa: E731
            final = head((weights[:, None] * pooled).sum(0)).log_softmax(0)
            losses.append(-final[gold])
            skipped = weights[0] * pooled[0] + (weights[1] + weights[2]) * pooled[1]
            without.append(-head(skipped).log_softmax(0)[gold])
            for layer in range(3):
                up_to = (weights[: layer + 1, None] * pooled[: layer + 1]).sum(0) / weights[: layer + 1].sum()
                for variant, said in (("alone", pooled[layer]), ("corrected", up_to)):
                    log_p = head(said).log_softmax(0)
                    kl = float((log_p.exp() * (log_p - final)).sum())
                    lenses.setdefault((variant, layer), []).append(kl)
    return {
        "lens": {key: sum(values) / len(values) for key, values in lenses.items()},
        "loss": float(torch.stack(losses).mean()),
        "without 1": float(torch.stack(without).mean()),
    }
