"""`lorascope analyze` on adapters made by plain transformers and PEFT, untouched by lorascope
(issue 2, "Shown by" 5).
"""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import WhisperFeatureExtractor, WhisperForAudioClassification

from lorascope.api import analyze
from lorascope.errors import LorascopeError
from lorascope.experiment.config import AnalysisConfig
from lorascope.work.sources import read_clip_ids

from ..tiny import tiny_config

#: Another order and other names than lorascope's own.
LABELS = ("neu", "Sad", "angry", "hap")
MEANING = ("neutrality", "sadness", "anger", "happiness")
QUICK = AnalysisConfig(draws=50, clips_per_class=3)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, corpus):
    """(backbone, adapter, frozen): trained for a few steps in a plain loop on the manifest's clips, 30 s context."""
    root = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    WhisperForAudioClassification(tiny_config(classes=LABELS, layers=2, heads=2)).save_pretrained(root / "backbone")
    table = pd.read_csv(corpus)
    table = table[table["speaker"].isin(["ann", "bob"])]
    extractor = WhisperFeatureExtractor()
    sounds = [soundfile.read(corpus.parent / path)[0] for path in table["path"]]
    features = extractor(sounds, sampling_rate=16_000, return_tensors="pt").input_features
    gold = torch.tensor([MEANING.index(emotion) for emotion in table["emotion"]])
    for name, learns in (("adapter", ("lora_", "modules_to_save")), ("frozen", ("modules_to_save",))):
        torch.manual_seed(1)
        model = WhisperForAudioClassification.from_pretrained(root / "backbone")
        peft = get_peft_model(
            model,
            LoraConfig(
                r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["projector", "classifier"]
            ),
        )
        for parameter_name, parameter in peft.named_parameters():
            parameter.requires_grad_(any(word in parameter_name for word in learns))
        optimiser = torch.optim.AdamW([p for p in peft.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(2):
            optimiser.zero_grad()
            peft(input_features=features, labels=gold).loss.backward()
            optimiser.step()
        peft.save_pretrained(root / name)
    return root


@pytest.fixture(scope="module")
def results(plain, corpus, tmp_path_factory):
    return analyze(
        str(plain / "backbone"),
        plain / "adapter",
        tmp_path_factory.mktemp("results") / "out",
        "csv",
        root=corpus,
        frozen=plain / "frozen",
        config=QUICK,
    )


def test_tables_figures_and_report_are_there(results):
    root = results.folder.root
    assert set(results.names) == {
        "contribution",
        "lens",
        "ranks",
        "rank_scores",
        "spectra",
        "spectra_summary",
        "cka",
        "erasure",
    }
    # the others are drawn in test_api.py
    assert (root / "figures" / "fig1.png").is_file()
    assert results.report.stat().st_size > 10_000
    assert results.table1.empty
    assert results.manifest["backbone"]["context"] == "full"


def test_the_numbers_are_those_of_the_stock_model(plain, corpus, results):
    """Accuracy, loss and the lens of the last layer against `PeftModel` on the stock classes."""
    stock = PeftModel.from_pretrained(
        WhisperForAudioClassification.from_pretrained(plain / "backbone"), plain / "adapter"
    ).eval()
    ids = results.manifest["analysis"]["clip_ids"]
    extractor = WhisperFeatureExtractor()
    sounds = [soundfile.read(corpus.parent / f"{clip}.wav")[0] for clip in ids]
    with torch.no_grad():
        logits = stock(
            input_features=extractor(sounds, sampling_rate=16_000, return_tensors="pt").input_features
        ).logits
    gold = torch.tensor([MEANING.index(clip.split("-")[1]) for clip in ids])
    intact = results["erasure"].query("model == 'trained' and mode == 'none'").iloc[0]
    assert intact["accuracy"] == pytest.approx((logits.argmax(1) == gold).double().mean().item())
    assert intact["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, gold).item(), abs=1e-4)
    last = results["lens"].query("model == 'trained' and variant == 'corrected' and layer == 2").iloc[0]
    assert last["kl"] == pytest.approx(0, abs=1e-6)
    assert last["accuracy"] == pytest.approx(intact["accuracy"])


def test_both_adapted_modules_are_analysed(results):
    assert set(results["spectra_summary"]["module"]) == {"q_proj", "v_proj"}


def test_the_frozen_head_is_in_the_adapters_order(plain, corpus, results):
    stock = PeftModel.from_pretrained(
        WhisperForAudioClassification.from_pretrained(plain / "backbone"), plain / "frozen"
    ).eval()
    ids = results.manifest["analysis"]["clip_ids"]
    sounds = [soundfile.read(corpus.parent / f"{clip}.wav")[0] for clip in ids]
    features = WhisperFeatureExtractor()(sounds, sampling_rate=16_000, return_tensors="pt").input_features
    gold = torch.tensor([MEANING.index(clip.split("-")[1]) for clip in ids])
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(stock(input_features=features).logits, gold).item()
    assert results["erasure"].query("model == 'frozen' and mode == 'none'")["loss"].iloc[0] == pytest.approx(
        loss, abs=1e-4
    )


def test_clip_ids_choose_the_clips_and_no_frozen_model_is_said(plain, corpus, tmp_path):
    chosen = [f"{s}-{e}-{take}" for s in ("cy", "dee") for e in MEANING for take in (0, 1)]
    (tmp_path / "ids.txt").write_text("\n".join(chosen))
    results = analyze(
        str(plain / "backbone"),
        plain / "adapter",
        tmp_path / "out",
        "csv",
        root=corpus,
        clip_ids=read_clip_ids(tmp_path / "ids.txt"),
        context="trim",
        config=QUICK,
    )
    about = results.manifest["analysis"]
    assert sorted(about["clip_ids"]) == sorted(chosen)
    assert results.manifest["backbone"]["context"] == "trim"
    assert "frozen" not in set(results["lens"]["model"]) and "frozen" in set(results["contribution"]["model"])
    assert any("No frozen baseline" in note for note in about["notes"])
    assert "No frozen baseline" in results.report.read_text()


def test_an_adapter_that_lorascope_trained_is_analysed_at_its_own_context(finished, corpus, backbone_folder, tmp_path):
    _, run = finished
    cells = {
        cell["method"]: cell["hash"]
        for cell in run.manifest["cells"]
        if cell["fold"] == "ann" and cell["role"] == "table1"
    }
    adapter, frozen = (run.folder.cell(cells[kind]) / "adapter" for kind in ("lora", "frozen"))
    ids = run.manifest["analysis"]["clip_ids"]
    results = analyze(
        str(backbone_folder),
        adapter,
        tmp_path / "out",
        "csv",
        root=corpus,
        frozen=frozen,
        clip_ids=ids,
        config=AnalysisConfig(draws=50),
    )
    assert results.manifest["backbone"]["context"] == "trim"
    for name in ("erasure", "spectra_summary", "lens"):
        ours, theirs = results[name], run[name]
        numbers = ours.select_dtypes("number").columns
        np.testing.assert_allclose(ours[numbers].astype(float), theirs[numbers].astype(float), atol=1e-5, err_msg=name)


def refused(message, *args, **kwargs):
    with pytest.raises(LorascopeError, match=message) as caught:
        analyze(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return kwargs


def test_bad_input_is_told_and_nothing_is_written(plain, corpus, tmp_path):
    out = tmp_path / "out"
    backbone, adapter = str(plain / "backbone"), plain / "adapter"
    refused("no clip 'x'|x is not among", backbone, adapter, out, "csv", root=corpus, clip_ids=["x"])
    refused("--labels names 3 classes", backbone, adapter, out, "csv", root=corpus, labels=["ang", "sad", "neu"])
    refused(
        "no clip has this label",
        backbone,
        adapter,
        out,
        "csv",
        root=corpus,
        labels=["ang", "sad", "neu", "elated"],
    )
    refused("both mean", backbone, adapter, out, "csv", root=corpus, labels=["ang", "sad", "neu", "angry"])
    refused("no such folder", backbone, tmp_path / "nothing", out, "csv", root=corpus)
    torch.manual_seed(0)
    WhisperForAudioClassification(
        tiny_config(classes=("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"), layers=2)
    ).save_pretrained(tmp_path / "nameless")
    refused("'LABEL_0' cannot be matched.*--labels", str(tmp_path / "nameless"), adapter, out, "csv", root=corpus)
    WhisperForAudioClassification(tiny_config(classes=("ang", "sad", "neu"), layers=2)).save_pretrained(
        tmp_path / "three"
    )
    refused("4 classes, the backbone .* has 3", str(tmp_path / "three"), adapter, out, "csv", root=corpus)
    WhisperForAudioClassification(tiny_config(classes=LABELS, layers=3)).save_pretrained(tmp_path / "deep")
    refused("made for another backbone", str(tmp_path / "deep"), adapter, out, "csv", root=corpus)
    assert not out.exists()


@pytest.mark.parametrize(("text", "message"), [("", "no clip ids"), ("a\nb\na\n", "line 3: a is named twice")])
def test_bad_clip_id_files_are_told(tmp_path, text, message):
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(LorascopeError, match=message):
        read_clip_ids(tmp_path / "ids.txt")
    with pytest.raises(LorascopeError, match="cannot be read"):
        read_clip_ids(tmp_path / "none.txt")
