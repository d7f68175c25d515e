"""Adapters of a run, or from elsewhere, made smaller: chosen on validation speakers, told of on the test speakers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

import lorascope
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.models.adapters.building import load_trained
from lorascope.models.adapters.pruning import Keep
from lorascope.models.weights.backbone import load_backbone
from lorascope.statistics.stats import unweighted_average_recall
from lorascope.store import seals
from lorascope.training.passes import predict_clips
from lorascope.work.prunable import of_run


def tell(adapter):
    """Let half of the directions of a trained cell's adapter matter: they are large, and the head is fitted to what the
    encoder then gives. (So small an encoder learns nothing in the seconds that a test has.)
    """
    folder = adapter.source.folder
    model = load_trained(adapter.load(), folder, "lora")
    torch.manual_seed(len(adapter.names["fold"]))
    seen = []
    head = model.get_base_model().classifier.modules_to_save["default"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * torch.tensor([0.5, 0.5, 1e-4, 1e-4]))
        handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].double().numpy()))
        for clip in adapter.clips:
            predict_clips(model, [clip], adapter.clips, adapter.context, 1)
        handle.remove()
        x = np.hstack([np.array(seen), np.ones((len(seen), 1))])
        y = np.eye(4)[[adapter.labels[clip] for clip in adapter.clips]]
        found = torch.from_numpy(np.linalg.lstsq(x, 10 * y, rcond=None)[0].T).float()
        head.weight.copy_(found[:, :-1])
        head.bias.copy_(found[:, -1])
    tensors = {name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    seals.seal(folder.parent)


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """The folder of a run whose adapters matter."""
    _, results = finished
    folder = tmp_path_factory.mktemp("run") / "run"
    shutil.copytree(results.folder.root, folder)
    for adapter in list(of_run(folder, Keep(0.5), lambda _: None)):
        tell(adapter)
    return folder


@pytest.fixture(scope="module")
def small(run, tmp_path_factory):
    """Its adapters with the least that is as good."""
    return lorascope.prune(run, tmp_path_factory.mktemp("pruned") / "out")


def test_every_lora_cell_of_table_1_is_written_and_told_of(small):
    assert list(small.table["fold"]) == ["ann", "cy"] and set(small.table["method"]) == {"lora"}
    for row in small.table.itertuples():
        assert (small.out / row.folder / "adapter_config.json").is_file()
        assert "Pruned by lorascope" in (small.out / row.folder / "README.md").read_text()
    stored = pd.read_csv(small.out / "pruned.csv")
    np.testing.assert_allclose(stored["uar"], small.table["uar"])
    # what these adapters answer hangs on their directions
    assert (small.table["whole_uar"] > 0.6).all() and (small.table["share"] == 0.5).all()
    none = small.validation[small.validation["share"] == 0]
    assert (none["delta_uar"] < -0.2).all()


def test_the_whole_adapters_uar_is_that_of_table_1(finished, tmp_path):
    _, results = finished
    found = lorascope.prune(results.folder.root, tmp_path / "out", 4).table.set_index("fold")
    for cell in results.manifest["cells"]:
        if cell["label"] == "LoRA r=4 v_proj":
            metrics = json.loads((results.folder.cell(cell["hash"]) / "metrics.json").read_text())
            assert found.loc[cell["fold"], "whole_uar"] == pytest.approx(metrics["uar"])
            assert found.loc[cell["fold"], "clips"] == metrics["clips"]["test"]


def test_the_share_is_the_least_that_is_as_good_on_the_validation_speakers(small):
    for row in small.table.itertuples():
        dial = small.validation[small.validation["fold"] == row.fold].sort_values("share", ascending=False)
        assert list(dial["share"]) == [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.0]
        good = (dial["delta_uar_high"] >= 0) & (dial["delta_uar"] >= -0.02)
        assert list(good) == list(dial["as_good"])
        assert row.share == dial["share"][good.cumprod() == 1].min()
        assert (dial["clips"] == 12).all()


def test_the_mean_over_folds_has_the_interval_over_folds(small):
    (row,) = small.over_folds.itertuples()
    assert row.uar == pytest.approx(small.table["uar"].mean()) and row.uar_folds == 2
    assert row.uar_low <= row.uar <= row.uar_high
    assert any("mean of 2 folds" in line for line in small.lines)


def test_what_is_told_is_what_plain_loading_answers(small, run):
    """UAR of the written folder, by the way in which a trained cell is loaded."""
    adapters = {each.names["fold"]: each for each in of_run(run, Keep(0.5), lambda _: None)}
    for row in small.table.itertuples():
        adapter = adapters[row.fold]
        model = load_trained(adapter.load(), small.out / row.folder, "lora")
        logits = predict_clips(model, adapter.test, adapter.clips, adapter.context, 4)
        gold = np.array([adapter.labels[clip] for clip in adapter.test])
        assert row.uar == pytest.approx(unweighted_average_recall(gold, logits.argmax(1), 4))


@pytest.mark.parametrize(("keep", "count"), [("2", 2), (0.5, None), ("0.25", None)])
def test_a_number_or_a_share_is_kept(keep, count, run, tmp_path):
    found = lorascope.prune(run, tmp_path / "out", keep)
    assert len(found.validation) == 0 and found.table["uar"].notna().all()
    for row in found.table.itertuples():
        tensors = load_file(found.out / row.folder / "adapter_model.safetensors")
        ranks = [len(tensor) for name, tensor in tensors.items() if "lora_A" in name]
        assert sum(ranks) == row.directions == (count * 3 if count else np.ceil(float(keep) * 12))
        assert count is None or set(ranks) == {count}
        assert row.parameters == sum(tensor.numel() for name, tensor in tensors.items() if "lora_" in name)


@pytest.fixture(scope="module")
def alone(run):
    """An adapter of the run, that of the fold ann, as if it were from elsewhere: its folder."""
    return next(of_run(run, Keep(0.5), lambda _: None)).source.folder


def call(capsys, *words):
    """(exit code, standard output, standard error) of a command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
        raise SystemExit(0)
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def test_an_adapter_from_elsewhere_gives_what_its_run_gives(small, alone, corpus, backbone_folder, tmp_path, capsys):
    words = ["prune", "--adapter", alone, "--backbone", backbone_folder, "--corpus", "csv", "--root", corpus]
    words += ["--keep", "auto", "--validation-speakers", "dee", "--test-speakers", "ann", "--out", tmp_path / "out"]
    code, out, _ = call(capsys, *words)
    assert code == 0 and f"pruned: {tmp_path / 'out'}" in out
    row = pd.read_csv(tmp_path / "out" / "pruned.csv").iloc[0]
    own = small.table[small.table["fold"] == "ann"].iloc[0]
    for name in ("share", "directions", "uar", "uar_low", "delta_uar", "whole_uar"):
        assert row[name] == pytest.approx(own[name]), name
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_an_adapter_at_chance_is_told_as_that(finished, small, tmp_path):
    _, results = finished
    found = lorascope.prune(results.folder.root, tmp_path / "out")
    assert found.table["note"].str.contains("not clearly better than chance (0.250): UAR 0.250", regex=False).all()
    assert (small.table["note"] == "").all()


def test_without_a_corpus_weights_are_enough(alone, backbone_folder, tmp_path):
    found = lorascope.prune_adapter(str(backbone_folder), alone, tmp_path / "out", keep=1)
    assert "uar" not in found.table and found.table["directions"].iloc[0] == 3
    assert found.lines[0].startswith("3 of 12 directions kept (each matrix' first 1; ") and "UAR" not in found.lines[0]


def test_a_planted_rank_of_3_is_what_auto_keeps_at_most(alone, corpus, backbone_folder, tmp_path):
    """A true rank of 3 in wider factors: no share keeps more, and one that keeps all is exactly as good."""
    shutil.copytree(alone, tmp_path / "planted")
    file = tmp_path / "planted" / "adapter_model.safetensors"
    random, tensors = np.random.default_rng(0), load_file(file)
    for name, tensor in tensors.items():
        if "lora_A" in name:
            a = random.normal(size=(32, 3)) @ random.normal(size=(3, tensor.shape[1]))
            tensors[name] = torch.from_numpy(a).float()
        elif "lora_B" in name:
            tensors[name] = torch.from_numpy(random.normal(size=(len(tensor), 32)) * 0.02).float()
    save_file(tensors, file)
    config = tmp_path / "planted" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 32, "lora_alpha": 32}))
    found = lorascope.prune_adapter(
        str(backbone_folder), tmp_path / "planted", tmp_path / "out", "auto", "csv", corpus, ["bob", "cy"], ["ann"]
    )
    dial = found.validation.set_index("share")
    assert (dial["of"] == 9).all() and (dial.loc[[0.5, 0.2, 0.1], "directions"] == 9).all()
    assert (dial.loc[[0.5, 0.2, 0.1], "delta_uar"] == 0).all() and found.table["share"].iloc[0] <= 0.1
    kept = lorascope.prune_adapter(str(backbone_folder), tmp_path / "planted", tmp_path / "three", "0.1")
    ranks = json.loads((kept.out / "adapter_config.json").read_text())
    assert ranks["r"] == 3 and kept.table["directions"].iloc[0] == 9


FAULTS = {
    "keep nothing": (["--keep", "0"], "--keep 0: expected auto"),
    "keep no number": (["--keep", "nan"], "--keep nan: expected auto"),
    "keep more than all": (["--keep", "1.5"], "--keep 1.5: expected auto"),
    "keep less than nothing": (["--keep=-0.2"], "--keep -0.2: expected auto"),
    "keep more than the rank": (["--keep", "5"], "has no more than 4 directions in a matrix, its rank"),
    "keep a word": (["--keep", "most"], "--keep most: expected auto"),
    "no validation speakers": (["--keep", "auto", "--test-speakers", "ann"], "no validation speakers to choose on"),
    "nobody of that name": (
        ["--keep", "auto", "--validation-speakers", "zoe", "--test-speakers", "ann"],
        "--validation-speakers: no speaker 'zoe'",
    ),
    "one speaker for both": (
        ["--keep", "auto", "--validation-speakers", "ann,bob", "--test-speakers", "ann"],
        "both name ann",
    ),
    "validation for nothing": (["--keep", "2", "--validation-speakers", "bob"], "only --keep auto chooses"),
    "a wrong context": (["--keep", "2", "--context", "short"], "expected trim or full"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_line_and_nothing_is_written(fault, alone, corpus, backbone_folder, tmp_path, capsys):
    more, told = FAULTS[fault]
    words = ["prune", "--adapter", alone, "--backbone", backbone_folder, "--corpus", "csv", "--root", corpus]
    code, _, err = call(capsys, *words, *more, "--out", tmp_path / "out")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and told in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "told"), [(0.0, "it changes nothing"), (np.nan, "numbers that are NaN or infinite")])
def test_an_adapter_of_zeros_or_of_no_numbers_is_one_line(value, told, alone, backbone_folder, tmp_path, capsys):
    shutil.copytree(alone, tmp_path / "broken")
    file = tmp_path / "broken" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: t.fill_(value) if "lora_B" in name else t for name, t in tensors.items()}, file)
    words = ["prune", "--adapter", tmp_path / "broken", "--backbone", backbone_folder, "--keep", "2"]
    code, _, err = call(capsys, *words, "--out", tmp_path / "out")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and told in line
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_where_every_direction_may_go_the_head_is_what_is_left(alone, corpus, backbone_folder, tmp_path):
    """Directions so small that they matter to nobody: auto keeps none, and says so."""
    shutil.copytree(alone, tmp_path / "faint")
    file = tmp_path / "faint" / "adapter_model.safetensors"
    save_file({name: t * (1e-7 if "lora_B" in name else 1) for name, t in load_file(file).items()}, file)
    words = (str(backbone_folder), tmp_path / "faint", tmp_path / "out", "auto", "csv", corpus, ["bob", "cy"], ["ann"])
    found = lorascope.prune_adapter(*words)
    (row,) = found.table.itertuples()
    assert row.directions == row.share == row.energy == 0 and row.delta_uar == 0
    assert found.lines[0].startswith("none of 12 directions kept: what is good here is the head")
    assert load_trained(load_backbone(str(backbone_folder)), found.out, "lora") is not None


def test_one_clip_to_choose_on_is_refused(alone, corpus, backbone_folder, tmp_path):
    table = pd.read_csv(corpus).assign(path=lambda t: [str(corpus.parent / p) for p in t["path"]])
    few = table[(table["speaker"] != "bob") | (table["path"].str.contains("bob-anger-0"))]
    manifest = str(tmp_path / "manifest.csv")
    few.to_csv(manifest, index=False)
    with pytest.raises(LorascopeError, match="no interval on the 1 clip of speaker bob"):
        lorascope.prune_adapter(
            str(backbone_folder),
            alone,
            tmp_path / "out",
            "auto",
            str(tmp_path / "manifest.csv"),
            None,
            ["bob"],
            ["ann"],
        )
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_folder_that_is_no_run_or_is_full_is_refused(finished, tmp_path, capsys):
    _, results = finished
    code, _, err = call(capsys, "prune", tmp_path, "--keep", "2", "--out", tmp_path / "out")
    assert code == 2 and "no manifest.json" in err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    code, _, err = call(capsys, "prune", results.folder.root, "--keep", "2", "--out", tmp_path / "out")
    assert code == 2 and "is not empty" in err and (tmp_path / "out" / "mine.txt").is_file()
    code, _, err = call(capsys, "prune", results.folder.root, "--backbone", "x", "--keep", "2", "--out", tmp_path / "o")
    assert code == 2 and "--backbone: goes with --adapter" in err
    code, _, err = call(capsys, "prune", "--keep", "2", "--out", tmp_path / "o")
    assert code == 2 and "give a run's folder, or --adapter" in err


def test_a_fold_without_validation_speakers_has_no_auto(finished, tmp_path):
    _, results = finished
    shutil.copytree(results.folder.root, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("selection: validation_speaker", "selection: test_fold"))
    with pytest.raises(LorascopeError, match="fold ann has no validation speakers"):
        lorascope.prune(tmp_path / "run", tmp_path / "out")
    with pytest.raises(LorascopeError, match="is not there as it would be trained today"):
        lorascope.prune(tmp_path / "run", tmp_path / "out", 2)


def test_a_cell_that_was_changed_is_refused(finished, tmp_path):
    _, results = finished
    shutil.copytree(results.folder.root, tmp_path / "run")
    cell = next(cell for cell in results.manifest["cells"] if cell["label"] == "LoRA r=4 v_proj")
    file = tmp_path / "run" / "cells" / cell["hash"] / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(LorascopeError, match=r"adapter_model\.safetensors"):
        lorascope.prune(tmp_path / "run", tmp_path / "out", 2)
