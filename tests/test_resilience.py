"""kill -9 at every place where a run writes: the same command continues, and ends with the
tables of an undisturbed run.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import WhisperForAudioClassification

from lorascope import analyze, analyze_several
from lorascope.analysis import one_pass as tracing
from lorascope.api import run
from lorascope.errors import LorascopeError
from lorascope.experiment.config import AnalysisConfig
from lorascope.experiment.loading import experiment_from
from lorascope.store import seals
from lorascope.store.folder import LOCK, RunFolder, read_json
from lorascope.store.locks import held
from lorascope.store.units import Units
from lorascope.training.checkpoints import Checkpoints, last_whole
from lorascope.training.fit import LengthTrainer
from lorascope.work import run as running

from .conftest import settings_of
from .killed import dying, run_until_killed
from .tiny import plain_adapter


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _logged(folder):
    """What a training logged, times apart."""
    lines = [json.loads(line) for line in (folder / "train.log").read_text().splitlines()]
    timed = ("runtime", "per_second", "train_loss")
    return [{key: value for key, value in line.items() if not key.endswith(timed)} for line in lines]


def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path, corpus, backbone_folder):
    analysis = {"draws": 50, "measures": ["lens"], "clips_per_class": 2}
    changes = {"folds": {"only": ["ann"]}, "analysis": analysis}
    experiment = experiment_from(settings_of(corpus, backbone_folder, **changes))
    undisturbed = run(experiment, tmp_path / "undisturbed")
    root = tmp_path / "run"

    def killed(*prepared, **outside):
        run_until_killed(lambda: run(experiment, root), lambda patch: patch.setattr(*prepared), **outside)

    def at(owner, name, when=lambda *_, **__: True):
        killed(owner, name, dying(getattr(owner, name), when))

    def over(file):
        """Between the writing of a file beside its place and its move there."""
        at(Path, "replace", lambda _, target: Path(target).name == file)

    # over its first file, before the folder can be known as a run's
    over("config.yaml")
    assert sorted(path.suffix for path in root.iterdir()) == [".lock", ".partial"]

    # in a training, from outside, when its first epoch is kept
    def kept_then_waiting(self, *args, original=Checkpoints.on_save, **settings):
        original(self, *args, **settings)
        time.sleep(60)

    checkpoint = "cells/.partial-*/candidate-*/trainer/checkpoint-*/seal.json"
    killed(Checkpoints, "on_save", kept_then_waiting, seen=root, pattern=checkpoint)
    assert len(list(root.glob(checkpoint))) == 1
    # with a checkpoint half written: the weights, but neither the optimiser nor where the training was
    at(LengthTrainer, "_save_optimizer_and_scheduler", lambda self, _: self.state.epoch == 2)
    assert len(list(root.glob("cells/.partial-*/candidate-*/trainer/checkpoint-*/*.safetensors"))) == 2
    # when a training is done, between its adapter, the note that it is, and the seal of both
    over("fit.json")
    at(seals, "seal", lambda folder, *_, **__: folder.name == "candidate-0")
    # in the last writes of a cell, when it is sealed, and when it is in place
    over("metrics.json")
    at(seals, "seal", lambda folder, *_, **__: (folder / "metrics.json").exists())
    at(Units, "_put_in_place")
    assert [seals.fault(cell) for cell in root.glob("cells/.partial-*") if (cell / "metrics.json").exists()] == [None]
    at(running, "read_cell", lambda cell, *_: cell.kind == "lora")
    assert list(root.glob("cells/[!.]*/candidate-0"))
    # in the midst of an analysis, when its tables are whole but not sealed, sealed but not in their place, and over
    # the copy that is shown
    calls = []
    at(tracing, "_trace_one", lambda *_: len(calls) == 5 or calls.append(1))
    at(seals, "seal", lambda folder, *_, **__: (folder / "about.json").exists())
    at(Units, "_put_in_place")
    assert [seals.fault(unit) for unit in root.glob("analyses/.partial-*")] == [None]
    over("analysis")
    assert not (root / "analysis").exists() and (root / ".analysis-partial" / "about.json").exists()
    # over what is said of all analyses together, the report, and the seal over all
    over("lens.parquet")
    assert not (root / "findings" / "lens.parquet").exists()
    over("report.html")
    at(RunFolder, "seal")
    assert not (root / "seal.json").exists()
    assert (root / "analysis").exists()

    results = run(experiment, root)
    assert (root / "table1.csv").read_bytes() == (undisturbed.folder.root / "table1.csv").read_bytes()
    assert results.names == undisturbed.names
    for name in results.names:
        pd.testing.assert_frame_equal(results[name], undisturbed[name], check_exact=True)
    pd.testing.assert_frame_equal(results.predictions, undisturbed.predictions, check_exact=True)
    for cell in results.manifest["cells"]:
        ours, theirs = (folder.cell(cell["hash"]) for folder in (results.folder, undisturbed.folder))
        assert _logged(ours) == _logged(theirs)
    here, there = ({p.relative_to(f.root) for p in f.root.rglob("*")} for f in (results.folder, undisturbed.folder))
    assert here == there


def test_an_analysis_of_adapters_that_is_killed_continues(tmp_path, corpus, backbone_folder, monkeypatch):
    # reports take most of the time, and are not what this is about
    monkeypatch.setattr("lorascope.report.write_all", lambda folder, _: folder)
    monkeypatch.setattr("lorascope.report.comparison.write_page", lambda folder, *_: folder)
    for seed, name in enumerate(("one", "two")):
        adapter = plain_adapter(WhisperForAudioClassification.from_pretrained(backbone_folder), seed)
        adapter.save_pretrained(tmp_path / name)

    def several(out):
        config = AnalysisConfig(measures=("contribution",), draws=50, clips_per_class=2)
        given = {"corpus": "csv", "root": corpus, "context": "trim", "config": config}
        return analyze_several(str(backbone_folder), [tmp_path / "one", tmp_path / "two"], out, **given)

    def over_the_second(patch):
        within = "killed/two"
        patch.setattr(
            Path, "replace", dying(Path.replace, lambda _, to: within in str(to) and to.name == "config.yaml")
        )

    undisturbed = several(tmp_path / "undisturbed")
    run_until_killed(lambda: several(tmp_path / "killed"), over_the_second)
    assert len(list((tmp_path / "killed" / "two" / "analyses").glob("[!.]*/about.json"))) == 1
    for name, results in several(tmp_path / "killed").items():
        pd.testing.assert_frame_equal(results["contribution"], undisturbed[name]["contribution"], check_exact=True)
    table = "side_by_side.csv"
    assert (tmp_path / "killed" / table).read_bytes() == (tmp_path / "undisturbed" / table).read_bytes()


def test_an_analysis_waits_for_one_in_the_same_folder(tmp_path, corpus, backbone_folder, monkeypatch):
    monkeypatch.setattr("lorascope.report.write_all", lambda folder, _: folder)
    plain_adapter(WhisperForAudioClassification.from_pretrained(backbone_folder), 0).save_pretrained(tmp_path / "one")
    given: dict[str, Any] = {"corpus": "csv", "root": corpus, "context": "trim"}
    config = AnalysisConfig(measures=("contribution",), draws=50, clips_per_class=2)
    out, said = tmp_path / "out", []

    with contextlib.ExitStack() as other:
        assert other.enter_context(held(out / LOCK, "another")) is None

        def say(text):
            # nothing is written before the other is done
            if "waiting for it" in text:
                assert [path.name for path in out.iterdir()] == [LOCK]
                other.close()
            said.append(text)

        analyze(str(backbone_folder), tmp_path / "one", out, config=config, say=say, **given)
    assert sum("works here; waiting for it" in text for text in said) == 1
    assert RunFolder(out).manifest.is_file() and not (out / LOCK).exists()


def test_bad_input_of_an_analysis_leaves_no_folder(tmp_path, corpus, backbone_folder):
    plain_adapter(WhisperForAudioClassification.from_pretrained(backbone_folder), 0).save_pretrained(tmp_path / "one")
    with pytest.raises(LorascopeError, match="nobody"):
        analyze(str(backbone_folder), tmp_path / "one", tmp_path / "out", "csv", corpus, test_speakers=["nobody"])
    assert not (tmp_path / "out").exists()


def test_tables_take_the_place_of_others_whole(tmp_path):
    folder = RunFolder(tmp_path)
    for number in (1, 2):
        folder.replace_tables({"lens": pd.DataFrame({"a": [number]})}, {"number": number})
        assert seals.fault(folder.analysis) is None and _names(tmp_path) == ["analysis"]
        assert list(pd.read_parquet(folder.analysis / "lens.parquet")["a"]) == [number]
    folder.analyses.begin("abc")
    folder.analyses.finish("abc", {"number": 3})
    # what is shown is a copy, made again where it is another
    for _ in range(2):
        folder.show_analysis("abc")
        assert read_json(folder.analysis / "about.json")["number"] == 3 and seals.fault(folder.analysis) is None
        (folder.analysis / "about.json").write_text("{}")
    assert _names(tmp_path) == ["analyses", "analysis"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "optimizer.pt").unlink(),
        lambda folder: (folder / "trainer_state.json").write_text('{"best_global_'),
        lambda folder: (folder / "seal.json").unlink(),
        lambda folder: (folder / "optimizer.pt").write_text("momentz"),
    ],
)
def test_a_damaged_checkpoint_is_not_taken_up(tmp_path, harm):
    for step in (3, 6, 9):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").write_text("moments")
        (folder / "trainer_state.json").write_text(json.dumps({"best_global_step": min(step, 6)}))
        seals.seal(folder)
    assert last_whole(tmp_path) == tmp_path / "checkpoint-9"
    # the best epoch so far is needed at the end
    assert _names(tmp_path) == ["checkpoint-6", "checkpoint-9"]
    harm(tmp_path / "checkpoint-9")
    assert last_whole(tmp_path) == tmp_path / "checkpoint-6"
    harm(tmp_path / "checkpoint-6")
    assert last_whole(tmp_path) is None and not _names(tmp_path)


def test_a_best_checkpoint_is_found_where_the_run_is_now(tmp_path):
    class State:
        best_global_step = 6
        best_model_checkpoint = "elsewhere/trainer/checkpoint-6"

    Checkpoints(tmp_path).on_train_begin(None, State, None)
    assert State.best_model_checkpoint == str(tmp_path / "checkpoint-6")


def test_a_cell_that_lost_its_metrics_makes_room(tmp_path):
    folder = RunFolder(tmp_path)
    (folder.cell("a") / "adapter").mkdir(parents=True)
    folder.cells.begin("a")
    folder.cells.finish("a", {})
    assert folder.is_whole("a") and not (folder.cell("a") / "adapter").exists()
