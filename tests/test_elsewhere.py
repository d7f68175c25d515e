"""`lorascope analyze` on adapters of more kinds: without a head, no low-rank pairs, whole and merged checkpoints, of
Whisper and of waveform encoders.
"""

import pandas as pd
import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import (
    HubertForCTC,
    Wav2Vec2ForSequenceClassification,
    WhisperForConditionalGeneration,
)

from lorascope.api import analyze
from lorascope.errors import LorascopeError
from lorascope.experiment.config import AnalysisConfig
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.planning import plan
from lorascope.report.figures.weights import figures
from lorascope.report.readings.causes import weights_reading
from lorascope.store.finished import FinishedRun

from .analysis.small import stirred
from .conftest import settings_of
from .tiny import CLASSES, enlarged, plain_adapter, tiny_config, tiny_waveform_config, tiny_whisper

pytestmark = pytest.mark.figures

QUICK = AnalysisConfig(draws=50, clips_per_class=2)
#: Tables of a whole analysis that need the loss or an answer.
OF_THE_HEAD = {"lens", "erasure"}
OF_THE_PAIRS = {"ranks", "rank_scores", "spectra", "spectra_summary", "cka"}


@pytest.fixture
def no_report(monkeypatch):
    """Leave figures and page out, which take most of the time and are made elsewhere."""
    monkeypatch.setattr("lorascope.report.write_all", lambda run, _: run / "report.html")


def random_factors(peft):
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name or "ia3_l" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return peft


@pytest.fixture(scope="module")
def asr(tmp_path_factory):
    """LoRA on Whisper for speech recognition: no head."""
    root = tmp_path_factory.mktemp("asr")
    torch.manual_seed(0)
    model = enlarged(WhisperForConditionalGeneration(tiny_config(layers=2)))
    model.save_pretrained(root / "backbone")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj"])
    random_factors(get_peft_model(model, config)).save_pretrained(root / "adapter")
    return root


@pytest.fixture(scope="module")
def headless(asr, corpus, tmp_path_factory):
    """(results, what was said) of an analysis without a head."""
    said = []
    out = tmp_path_factory.mktemp("headless") / "out"
    results = analyze(
        str(asr / "backbone"), asr / "adapter", out, "csv", root=corpus, context="trim", config=QUICK, say=said.append
    )
    return results, said


def test_without_a_head_what_needs_none_is_measured(headless):
    results, _ = headless
    assert set(results.names) == {"contribution", *OF_THE_PAIRS}
    assert set(results["spectra_summary"]["quantity"]) == set(results["cka"]["quantity"]) == {"activation"}
    trained = results["spectra_summary"].query("model == 'trained' and variant == 'corrected'")
    assert len(trained) == 2 * 2 and trained["k90"].notna().all() and trained["k90_low"].notna().all()
    assert results["cka"].query("variant == 'corrected' and pair == 'A~B:trained'")["value"].notna().all()
    assert "difference" in set(results["contribution"]["model"])
    assert len(results["rank_scores"]) > 0
    assert sorted(results.manifest["corpus"]["classes"]) == sorted(CLASSES)


def test_without_a_head_what_is_left_out_is_told(headless):
    results, said = headless
    about = results.manifest["analysis"]
    assert set(about["left_out"]) == OF_THE_HEAD
    told = [note for note in about["notes"] if "head" in note]
    assert any("Left out: lens, erasure" in note for note in told)
    assert any("gradients of spectra and cka" in note for note in told)
    page = results.report.read_text()
    assert all(f"note: {note}" in said and note.split(";")[0] in page for note in told)
    assert not any("No frozen baseline" in note for note in about["notes"])
    figures = {path.stem for path in (results.folder.root / "figures").glob("*.png")}
    assert {"fig1", "fig2b", "fig3"} <= figures and not {"fig2a", "fig4"} & figures
    assert "Backward" not in page


def test_the_gradients_left_out_change_no_other_number(asr, headless, corpus, tmp_path, no_report):
    """The same adapter with a head: activations, contributions and rank space are the same."""
    results, _ = headless
    model = enlarged(WhisperForConditionalGeneration(tiny_config(layers=2)))
    model.load_state_dict(WhisperForConditionalGeneration.from_pretrained(asr / "backbone").state_dict())
    stock = tiny_whisper(layers=2)
    stock.encoder.load_state_dict(model.model.encoder.state_dict())
    stock.save_pretrained(tmp_path / "backbone")
    peft = plain_adapter(stock, targets=("v_proj",))
    tensors = load_file(asr / "adapter" / "adapter_model.safetensors")
    state = dict(peft.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            own = name.replace("model.model.model.", "model.model.").replace(".weight", ".default.weight")
            if own in state:
                state[own].copy_(tensor)
    peft.save_pretrained(tmp_path / "adapter")
    only = AnalysisConfig(draws=50, clips_per_class=2, measures=("contribution", "spectra"))
    whole = analyze(
        str(tmp_path / "backbone"),
        tmp_path / "adapter",
        tmp_path / "out",
        "csv",
        root=corpus,
        context="trim",
        config=only,
    )
    rows = whole["spectra_summary"].query("quantity == 'activation'").reset_index(drop=True)
    pd.testing.assert_frame_equal(results["spectra_summary"], rows, rtol=1e-4, check_dtype=False)
    pd.testing.assert_frame_equal(results["contribution"], whole["contribution"], rtol=1e-4, check_dtype=False)


def test_what_cannot_be_had_is_refused_where_it_is_asked_for(asr, corpus, tmp_path):
    lens = AnalysisConfig(measures=("contribution", "lens"), clips_per_class=2)
    with pytest.raises(LorascopeError, match=r"analysis\.measures: lens cannot be had: .* no trained head") as caught:
        analyze(
            str(asr / "backbone"), asr / "adapter", tmp_path / "out", "csv", root=corpus, context="trim", config=lens
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_shorter_window_is_full_and_clips_are_cut_to_it(corpus, tmp_path, no_report):
    torch.manual_seed(0)
    whisper = tiny_whisper(layers=2, max_source_positions=15)
    whisper.save_pretrained(tmp_path / "backbone")
    random_factors(plain_adapter(whisper)).save_pretrained(tmp_path / "adapter")
    only = AnalysisConfig(draws=50, clips_per_class=2, measures=("contribution",))
    # full is the default context
    whole = analyze(str(tmp_path / "backbone"), tmp_path / "adapter", tmp_path / "out", "csv", root=corpus, config=only)
    assert whole.manifest["backbone"]["context"] == "full" and len(whole["contribution"])
    assert any(
        note.endswith("clips are longer than 0.3 s; only their first 0.3 s are used")
        for note in whole.manifest["corpus"]["notes"]
    )


@pytest.mark.parametrize("kind", ["dora", "ia3"])
def test_adapters_that_are_no_low_rank_pairs(kind, corpus, tmp_path, no_report):
    whisper = tiny_whisper(layers=2)
    whisper.save_pretrained(tmp_path / "backbone")
    if kind == "dora":
        plain_adapter(whisper, use_dora=True).save_pretrained(tmp_path / "adapter")
    else:
        config = IA3Config(
            target_modules=["v_proj", "fc2"], feedforward_modules=["fc2"], modules_to_save=["projector", "classifier"]
        )
        random_factors(get_peft_model(whisper, config)).save_pretrained(tmp_path / "adapter")
    results = analyze(
        str(tmp_path / "backbone"),
        tmp_path / "adapter",
        tmp_path / "out",
        "csv",
        root=corpus,
        context="trim",
        config=QUICK,
    )
    check_without_pairs(results)


def check_without_pairs(results):
    assert set(results.names) == {"contribution", "lens", "erasure"}
    about = results.manifest["analysis"]
    assert about["models"] == ["frozen", "trained"] and len(about["left_out"]) == 3
    assert any("Left out: ranks, spectra, cka; the adapter is not plain low-rank pairs" in n for n in about["notes"])
    same = results["contribution"].query("model == 'difference' and variant == 'same-input' and frames == 'valid'")
    assert same["ratio"].abs().max() > 1e-3
    last = results["lens"].query("model == 'trained' and variant == 'corrected' and layer == 2").iloc[0]
    assert last["kl"] == pytest.approx(0, abs=1e-6)


def test_what_peft_makes_without_factors_gets_all_that_has_a_meaning(corpus, tmp_path, no_report):
    """LoHa: contribution, lens, erasure, dial, patching and the weights of ΔW, up to the report."""
    whisper = tiny_whisper(layers=2)
    whisper.save_pretrained(tmp_path / "backbone")
    config = LoHaConfig(r=2, target_modules=["v_proj"], modules_to_save=["projector", "classifier"])
    stirred(config, whisper).save_pretrained(tmp_path / "adapter")
    measures = ("contribution", "lens", "erasure", "dial", "patching", "weights")
    arguments = (str(tmp_path / "backbone"), tmp_path / "adapter", tmp_path / "out", "csv")
    few = AnalysisConfig(draws=50, clips_per_class=2, measures=measures)
    results = analyze(*arguments, root=corpus, context="trim", config=few)
    assert {"contribution", "lens", "erasure", "dial", "patching", "weights", "weight_angles"} <= set(results.names)
    finished = FinishedRun(tmp_path / "out")
    assert "of 32. Its columns lie in" in weights_reading(finished)[0]
    assert set(figures(finished)) == {"fig8"}
    few = AnalysisConfig(measures="all", clips_per_class=2)
    with pytest.raises(LorascopeError, match=r"cka, .*ranks, spectra cannot be had: .*; take .*contribution,.*dial,"):
        analyze(*arguments, root=corpus, context="trim", config=few)


def test_a_fine_tuned_wav2vec2_against_its_frozen_baseline(corpus, tmp_path):
    """A whole checkpoint on a waveform encoder, whose context is `trim` by itself, and refused as `full`."""
    torch.manual_seed(0)
    model = enlarged(Wav2Vec2ForSequenceClassification(tiny_waveform_config()), 3)
    model.save_pretrained(tmp_path / "backbone")
    with torch.no_grad():
        model.classifier.weight.add_(1)
    model.save_pretrained(tmp_path / "frozen")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "encoder.layers" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / "tuned")
    arguments = (str(tmp_path / "backbone"), tmp_path / "tuned", tmp_path / "out", "csv")
    with pytest.raises(LorascopeError, match=r"--context: full is Whisper's window of 30 s"):
        analyze(*arguments, root=corpus, context="full")
    results = analyze(*arguments, root=corpus, frozen=tmp_path / "frozen", config=QUICK)
    assert results.manifest["backbone"]["context"] == "trim"
    check_without_pairs(results)
    intact = results["erasure"].query("mode == 'none'").set_index("model")["loss"]
    assert set(intact.index) == {"trained", "frozen"} and intact["trained"] != intact["frozen"]


def test_hubert_without_a_head(corpus, tmp_path, no_report):
    torch.manual_seed(0)
    model = enlarged(HubertForCTC(tiny_waveform_config("hubert")), 3)
    model.save_pretrained(tmp_path / "backbone")
    config = LoraConfig(r=2, target_modules=["v_proj", "output_dense"])
    random_factors(get_peft_model(model, config)).save_pretrained(tmp_path / "adapter")
    few = AnalysisConfig(draws=50, clips_per_class=2, measures=("contribution", "spectra"))
    results = analyze(
        str(tmp_path / "backbone"),
        tmp_path / "adapter",
        tmp_path / "out",
        "csv",
        root=corpus,
        frozen=tmp_path,
        config=few,
    )
    assert results.manifest["backbone"]["context"] == "trim"
    assert any("frozen baseline's head is left aside" in note for note in results.manifest["analysis"]["notes"])
    assert set(results["spectra_summary"]["module"]) == {"v_proj", "fc2"}


@pytest.mark.parametrize("name", ["wav2vec2-base", "folder"])
def test_full_context_is_refused_before_a_run_without_reading_weights(name, corpus, tmp_path):
    if name == "folder":
        tiny_waveform_config("wavlm").save_pretrained(tmp_path)
    settings = settings_of(corpus, tmp_path) | {
        "backbone": {"name": str(tmp_path) if name == "folder" else name, "context": "full"}
    }
    with pytest.raises(LorascopeError, match=r"backbone\.context: full is Whisper's window"):
        plan(experiment_from(settings))
