"""What is told before anything is trained, against the real thing: parameters, disk, and what cannot be run."""

import shutil
from collections import namedtuple

import pytest

from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.methods import LoraConfig
from lorascope.experiment.planning import plan
from lorascope.models.adapters.building import adapt
from lorascope.models.weights.backbone import load_backbone, whereabouts
from lorascope.work.foresight import foresee
from lorascope.work.needs import memory_needed, short_of, trained_parameters
from lorascope.work.shapes import encoder_shape, parameters

from ..conftest import settings_of

LORA = {"rank": 2, "alpha": 4, "learning_rate": 1e-2, "epochs": 1}


def _experiment(corpus, backbone_folder, lora=None, **changes):
    methods = {"frozen": None, "lora": LORA | (lora or {})}
    return experiment_from(settings_of(corpus, backbone_folder, methods=methods, **changes))


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"rank": 33}, r"methods.lora.rank: 33 is above 32"),
        ({"rank": 100_000}, r"methods.lora.rank: 100000 is above 32"),
        ({"kind": "adalora", "rank": 30}, r"methods.lora.rank: 45 is above 32"),
        ({"layers": [0, 3]}, r"methods.lora.layers: no layer 3; the encoder's are 0 to 2"),
    ],
)
def test_what_the_encoder_cannot_have_is_refused(corpus, backbone_folder, lora, told):
    with pytest.raises(LorascopeError, match=told):
        foresee(_experiment(corpus, backbone_folder, lora))


def test_a_rank_of_the_rank_space_is_held_to_the_same(corpus, backbone_folder):
    with pytest.raises(LorascopeError, match=r"analysis.ranks: 64 is above 32"):
        foresee(_experiment(corpus, backbone_folder, analysis={"ranks": [16, 64]}))


def test_a_rank_above_a_matrix_is_refused_where_it_is_built_too(backbone_folder):
    model = load_backbone(str(backbone_folder), ["a", "b"]).model
    with pytest.raises(LorascopeError, match="rank 33 is above 32, the smaller side of v_proj"):
        adapt(model, LoraConfig(rank=33), 0)
    assert adapt(model, LoraConfig(rank=32), 0) is not None


def test_parameters_are_those_of_the_model(corpus, backbone_folder):
    shape = encoder_shape(str(backbone_folder))
    assert shape is not None
    (cell,) = plan(_experiment(corpus, backbone_folder, folds={"only": ["ann"]}, analysis=None))
    backbone = load_backbone(str(backbone_folder), ["a", "b", "c", "d"], projection=cell.projection)
    adapted = adapt(backbone.model, cell.method, 0)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained_parameters(cell, shape) == pytest.approx(trained, rel=0.1)
    tiny = encoder_shape("openai/whisper-tiny.en")
    assert tiny is not None
    # its encoder has 8.2 million, the positions' 0.6 million among them
    assert parameters(tiny) == pytest.approx(8.2e6 - 1500 * 384, rel=0.05)


def test_the_memory_grows_with_batch_and_length(corpus, backbone_folder):
    shape = encoder_shape(str(backbone_folder))
    loaded = experiment_from(settings_of(corpus, backbone_folder, analysis=None)).corpus
    assert loaded.reader == "csv"
    few, many = (foresee(_experiment(corpus, backbone_folder, {"batch_size": size})).memory for size in (2, 32))
    assert few is not None and many is not None and many > few
    full = _experiment(
        corpus, backbone_folder, {"batch_size": 2}, backbone={"name": str(backbone_folder), "context": "full"}
    )
    assert foresee(full).memory > few
    assert memory_needed([], None, None) is None and shape is not None


def test_the_disk_is_about_what_a_run_takes(finished):
    experiment, results = finished
    root = results.folder.root
    taken = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    ahead = foresee(experiment, root)
    assert ahead.disk is not None and ahead.disk / 3 < taken < 3 * ahead.disk
    assert ahead.free == pytest.approx(shutil.disk_usage(root).free, rel=0.05) and ahead.warnings == ()


def test_what_does_not_fit_is_told_in_a_line(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    (line,) = short_of(2**30, 10**6, tmp_path)
    assert line == f"{tmp_path}: 0.00 GiB are free, about 1.00 GiB are needed; make room there"
    assert short_of(None, 0, tmp_path) == [] and short_of(100.0, 10**6, tmp_path) == []


def test_where_a_backbone_comes_from(backbone_folder, tmp_path, monkeypatch):
    assert whereabouts(str(backbone_folder)) == ("from the folder", True)
    with pytest.raises(LorascopeError, match="no such folder"):
        whereabouts(str(tmp_path / "nothing"))
    with pytest.raises(LorascopeError, match=r"no config\.json"):
        whereabouts(str(tmp_path))
    monkeypatch.setattr("lorascope.models.weights.backbone.hub_refuses", lambda _: "the hub does not answer")
    words, reachable = whereabouts("nobody/has-this")
    assert not reachable and "the hub does not answer" in words and "give a folder that holds it" in words


def test_the_plan_says_it_all_and_trains_nothing(corpus, backbone_folder, tmp_path, capsys):
    from lorascope.experiment.loading import dump_experiment

    file = tmp_path / "experiment.yaml"
    file.write_text(dump_experiment(_experiment(corpus, backbone_folder)))
    with pytest.raises(SystemExit) as end:
        main(["plan", str(file), "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert end.value.code in (None, 0) and not (tmp_path / "out").exists()
    assert "backbone: from the folder" in told and "memory: about" in told and "GiB free" in told
    with pytest.raises(SystemExit) as end:
        main(["plan", str(file), "--set", "methods.lora.rank=100000"])
    assert end.value.code == 2 and "rank: 100000 is above 32" in capsys.readouterr().err
