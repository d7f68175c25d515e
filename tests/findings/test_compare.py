"""Several adapters side by side, and adapters by hub id."""

import re
import shutil

import pandas as pd
import pytest
import torch
from transformers import WavLMForSequenceClassification

from lorascope.api import analyze_several, name_each
from lorascope.errors import LorascopeError
from lorascope.experiment.config import AnalysisConfig
from lorascope.models.weights.hub import adapter_folder

from ..test_cli import call
from ..tiny import enlarged, plain_adapter, tiny_waveform_config

QUICK = AnalysisConfig(draws=50, clips_per_class=2, measures=("contribution", "lens", "spectra", "cka", "erasure"))


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory):
    """A backbone with a LoRA, the same merged, and a fine-tuned checkpoint, as folders."""
    root = tmp_path_factory.mktemp("wavlm")

    def fresh():
        torch.manual_seed(0)
        return enlarged(WavLMForSequenceClassification(tiny_waveform_config("wavlm")), 3)

    fresh().save_pretrained(root / "backbone")
    # on modules that stock WavLM calls, so that merging is the same there and here
    plain_adapter(fresh(), rank=3, targets=("intermediate_dense",)).save_pretrained(root / "lora")
    plain_adapter(fresh(), rank=3, targets=("intermediate_dense",)).merge_and_unload().save_pretrained(root / "merged")
    tuned = fresh()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "encoder.layers" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    tuned.save_pretrained(root / "tuned")
    return root


@pytest.fixture(scope="module")
def several(wavlm, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("several") / "out"
    patch = pytest.MonkeyPatch()
    patch.setattr("lorascope.report.write_all", lambda run, _: run / "report.html")
    adapters = [wavlm / name for name in ("lora", "merged", "tuned")]
    results = analyze_several(
        str(wavlm / "backbone"), adapters, out, "csv", root=corpus, config=AnalysisConfig(draws=50, clips_per_class=2)
    )
    patch.undo()
    return out, results


def test_every_number_stands_with_its_adapter(several):
    out, results = several
    table = pd.read_csv(out / "side_by_side.csv")
    assert list(results) == ["lora", "merged", "tuned"] == list(dict.fromkeys(table["adapter"]))
    assert len({tuple(result.manifest["analysis"]["clip_ids"]) for result in results.values()}) == 1
    measures = table.groupby("adapter")["measure"].agg(set)
    assert measures["lora"] == measures["merged"] == {"contribution", "lens", "spectra", "cka", "erasure"}
    assert measures["tuned"] == {"contribution", "lens", "erasure"}
    for name, result in results.items():
        rows = table[(table["adapter"] == name) & (table["quantity"] == "kl")].set_index("layer")
        lens = result["lens"].query("model == 'trained' and variant == 'corrected'").set_index("layer")
        for ours, theirs in (("value", "kl"), ("low", "kl_low"), ("high", "kl_high")):
            pd.testing.assert_series_equal(rows[ours], lens[theirs], check_names=False)
    assert not table.duplicated(["adapter", "layer", "quantity", "module"]).any()


def test_a_merged_adapter_gives_the_numbers_of_the_adapter_that_it_was(several):
    out, _ = several
    table = pd.read_csv(out / "side_by_side.csv")
    # what is taken of A depends on its gauge, which merging forgets
    of_a = table["quantity"].isin(["k90 of A activations", "A and B, activations"])
    table = table[~of_a].set_index(["adapter", "quantity", "layer"])
    pd.testing.assert_frame_equal(
        table.loc["lora", ["value"]], table.loc["merged", ["value"]], atol=2e-3, check_dtype=False
    )


def test_the_page_links_every_report_and_needs_no_network(several):
    out, results = several
    page = (out / "index.html").read_text()
    for name in results:
        assert f'href="{name}/report.html"' in page
    assert "<svg" in page and "data:text/csv;base64" in page
    assert not re.search(r'(src|href)="https?://', page)
    for suffix in ("pdf", "svg", "png"):
        assert (out / "figures" / f"side_by_side.{suffix}").stat().st_size > 1000


def test_bad_input_is_told_before_anything_is_written(wavlm, corpus, tmp_path):
    def refused(message, adapters):
        with pytest.raises(LorascopeError, match=message) as caught:
            analyze_several(str(wavlm / "backbone"), adapters, tmp_path / "out", "csv", root=corpus, config=QUICK)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()

    refused("no such folder", [wavlm / "lora", tmp_path / "nothing"])
    refused("its encoder is that of", [wavlm / "lora", wavlm / "backbone"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").touch()
    with pytest.raises(LorascopeError, match="holds no adapters side by side"):
        analyze_several(str(wavlm / "backbone"), [wavlm / "lora"], tmp_path / "full", "csv", root=corpus)


def test_names_come_from_folders_and_are_unique():
    assert list(name_each(["a/lora", "b/ia3/"])) == ["lora", "ia3"]
    assert list(name_each(["cells/1/adapter", "cells/2/adapter"])) == ["1-adapter", "2-adapter"]
    assert list(name_each(["owner/one", "owner/one"])) == ["owner-one", "owner-one-2"]
    assert list(name_each(["x/figures"])) == ["figures-2"]


def cached(tmp_path, monkeypatch, folder, identity):
    """Lay a folder into a hub cache of the test's own, as a download leaves it."""
    repository = tmp_path / "hub" / f"models--{identity.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    shutil.copytree(folder, repository / "snapshots" / "0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository / "snapshots" / "0123abc"


@pytest.mark.parametrize("kind", ["lora", "tuned"])
def test_hub_ids_are_looked_for_in_the_cache_first(kind, wavlm, tmp_path, monkeypatch):
    snapshot = cached(tmp_path, monkeypatch, wavlm / kind, "somebody/wavlm-emotion")
    assert adapter_folder("somebody/wavlm-emotion").samefile(snapshot)
    with pytest.raises(
        LorascopeError,
        match=r"somebody/else: no such folder; it is not in the hub's cache; HF_HUB_OFFLINE is set; give",
    ) as caught:
        adapter_folder("somebody/else")
    assert "\n" not in str(caught.value)


def test_what_is_no_hub_id_is_taken_as_a_path(tmp_path, monkeypatch):
    monkeypatch.setattr("lorascope.models.weights.hub.hub_refuses", lambda identity: pytest.fail("the hub was asked"))
    for name in (tmp_path / "nothing", "./adapters/one", "adapter", "a/b/c"):
        assert str(adapter_folder(name)) == str(name).removeprefix("./")


def test_the_command_line_takes_a_hub_id(wavlm, corpus, tmp_path, monkeypatch, capsys):
    cached(tmp_path, monkeypatch, wavlm / "lora", "somebody/lora")
    monkeypatch.setattr("lorascope.report.write_all", lambda run, _: run / "report.html")
    options = ["--backbone", wavlm / "backbone", "--corpus", "csv", "--root", corpus, "--out", tmp_path / "out"]
    options += ["--set", "measures=[contribution]", "--set", "draws=50", "--set", "clips_per_class=2"]
    code, out, err = call(capsys, "analyze", "--adapter", "somebody/lora", *options)
    assert code == 0 and "report:" in out, err
    code, _, err = call(
        capsys,
        "analyze",
        "--adapter",
        "somebody/lora",
        "--adapter",
        "somebody/else",
        *options[:-8],
        "--out",
        tmp_path / "two",
    )
    assert code == 2 and "somebody/else: no such folder" in err
