"""Sweeps with real cells of a small model: each cell once, whatever fails, stops or happens beside it, and
reports as a run writes them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from lorascope.api import run, run_sweep
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.store import locks, seals
from lorascope.store.locks import held
from lorascope.store.results import Results
from lorascope.training import cell as cells
from lorascope.work.journal import SweepFolder
from lorascope.work.sweep import plan_sweep, status

from ..conftest import make_corpus, settings_of
from ..store.test_seals import flip
from .here import QUICK, RANKS, Here, small


@pytest.fixture(scope="module")
def done(tmp_path_factory, corpus, backbone_folder):
    """(sweep, its folder, its summary, what it said): two ranks in two folds, whole, with reports."""
    out, said = tmp_path_factory.mktemp("sweeps") / "out", []
    sweep = small(corpus, backbone_folder, RANKS)
    return sweep, SweepFolder(out), run_sweep(sweep, out, Here(), say=said.append), said


@pytest.fixture
def copied(done, tmp_path):
    """The same, to be broken."""
    sweep, folder, *_ = done
    shutil.copytree(folder.root, tmp_path / "out", symlinks=True)
    return sweep, SweepFolder(tmp_path / "out")


def counts(summary):
    return Counter(state.kind for state in summary.states.values())


def lose(folder, key):
    """Remove a cell as if it had never been computed."""
    shutil.rmtree(folder.run.cell(folder.state(key).about["hash"]))


def times(folder):
    return {path: path.stat().st_mtime_ns for path in (folder.root / "cells").rglob("*") if path.is_file()}


def test_every_cell_is_computed_once_and_shared(done):
    sweep, folder, summary, _ = done
    assert counts(summary) == {"whole": 6} and not summary.errors
    shared = [cell for cell in summary.planned if len(cell.slugs) == 2]
    assert [cell.cell.kind for cell in shared] == ["frozen", "frozen"]
    whole = Counter(line["cell"] for line in folder.journal() if line["event"] == "whole")
    assert set(whole.values()) == {1} and set(whole) == {path.name for path in (folder.root / "cells").iterdir()}
    assert status(sweep, folder.root).states == summary.states


def test_an_experiment_is_what_a_run_of_it_gives(done, tmp_path):
    sweep, folder, *_ = done
    variant = sweep.variants[1]
    alone, swept = run(variant.experiment, tmp_path / "alone"), Results(folder.experiment(variant.slug).root)
    pd.testing.assert_frame_equal(swept.table1, alone.table1)
    pd.testing.assert_frame_equal(swept.predictions, alone.predictions)
    assert (folder.root / "experiments" / variant.slug / "cells").readlink().parts[0] == ".."


def test_the_combined_table_is_the_experiments_tables(done):
    sweep, folder, summary, _ = done
    table = pd.read_csv(folder.root / "table1.csv")
    for variant in sweep.variants:
        # Table 1 has a column of this name already
        rows = table[table["axis rank"] == variant.values["rank"]]
        own = Results(folder.experiment(variant.slug).root).table1
        assert list(rows["pooled_uar"]) == list(own["pooled_uar"]) and list(rows["label"]) == list(own["label"])
    text = summary.table.read_text()
    assert text.startswith("| rank | Backbone") and text.count("LoRA r=") == 2 and "Guessing gives" in text


def test_the_same_call_redoes_nothing(copied, monkeypatch):
    sweep, folder = copied
    before, journal = times(folder), folder.journal()
    monkeypatch.setattr(cells, "train_and_test", None)
    engine = Here()
    summary = run_sweep(sweep, folder.root, engine)
    assert counts(summary) == {"whole": 6} and engine.jobs == [] and engine.closed
    assert times(folder) == before and folder.journal() == journal


def test_only_what_is_missing_is_computed(copied):
    sweep, folder = copied
    key = plan_sweep(sweep)[3].key
    lose(folder, key)
    assert counts(status(sweep, folder.root)) == {"whole": 5, "missing": 1}
    before, engine = times(folder), Here()
    assert counts(run_sweep(sweep, folder.root, engine, reports=False)) == {"whole": 6}
    assert [job.key for job in engine.jobs] == [key] and before.items() <= times(folder).items()


def test_a_cell_with_a_flipped_byte_is_told_and_computed_again(copied):
    sweep, folder = copied
    cell = plan_sweep(sweep)[1]
    name = folder.state(cell.key).about["hash"]
    flip(folder.run.cell(name) / "adapter" / "adapter_model.safetensors")
    before, engine, said = times(folder), Here(), []
    assert counts(run_sweep(sweep, folder.root, engine, reports=False, say=said.append)) == {"whole": 6}
    line = f"cells/{name}: adapter/adapter_model.safetensors: not what was sealed; computed again ({cell.words})"
    assert line in said and [job.key for job in engine.jobs] == [cell.key]
    kept = {path: time for path, time in before.items() if name not in path.parts}
    assert kept.items() <= times(folder).items() and seals.fault(folder.run.cell(name)) is None


def test_a_record_that_cannot_be_read_is_made_again(copied):
    sweep, folder = copied
    key = plan_sweep(sweep)[0].key
    record = folder.root / "sweep" / "cells" / f"{key}.json"
    for damage in (b"", b"[1]", record.read_bytes()[:-5]):
        record.write_bytes(damage)
        assert folder.state(key).kind == "missing"
        before = times(folder)
        assert counts(run_sweep(sweep, folder.root, Here(), reports=False)) == {"whole": 6} and times(folder) == before


def test_cells_of_before_there_were_seals_are_taken_up_and_sealed(copied):
    sweep, folder = copied
    names = [folder.state(cell.key).about["hash"] for cell in plan_sweep(sweep)]
    for name in names:
        (folder.run.cell(name) / "seal.json").unlink()
        metrics = folder.run.cell(name) / "metrics.json"
        told = json.loads(metrics.read_text())
        del told["form"]
        metrics.write_text(json.dumps(told))
    # one of them lost its bytes in a power cut
    (folder.run.cell(names[0]) / "train.log").write_text("")
    engine = Here()
    assert counts(run_sweep(sweep, folder.root, engine, reports=False)) == {"whole": 6}
    assert [job.key for job in engine.jobs] == [plan_sweep(sweep)[0].key]
    assert all(seals.fault(folder.run.cell(name)) is None for name in names)


def test_a_sweep_of_other_settings_that_is_killed_over_its_reports_leaves_no_old_ones(copied, corpus, backbone_folder):
    """The same names, other settings: whatever time its files bear, a report is of the results or made again."""
    _, folder = copied
    axes = {"rank": {"r2": {"methods.lora.rank": 3, "methods.lora.alpha": 6}}}
    changed = small(corpus, backbone_folder, axes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lorascope.report.write_all", dying)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(changed, folder.root, Here())
    run = folder.experiment("r2")
    assert "LoRA r=2" in (run.root / "report.html").read_text() and not run.is_told()
    with pytest.raises(LorascopeError, match="not made from this manifest"):
        Results(run.root).table1.count()
    for file in (run.root / "report.html", run.root / "table1.csv"):
        os.utime(file, (4e9, 4e9))
    run_sweep(changed, folder.root, Here())
    for file in (run.root / "report.html", folder.root / "table1.md"):
        assert "LoRA r=3" in file.read_text() and "LoRA r=2" not in file.read_text()


def dying(root, _):
    raise KeyboardInterrupt


def test_a_changed_setting_counts_whatever_the_clock_says(tmp_path, corpus, backbone_folder, monkeypatch):
    analysis = {"measures": ["contribution"], "draws": 50, "clips_per_class": 2}

    def sweep(seed):
        changes = {"folds": {"only": ["ann"]}, "methods": {"frozen": QUICK["frozen"], "lora": QUICK["lora"]}}
        axes = {"rank": {"r2": {"analysis.seed": seed}}}
        return small(corpus, backbone_folder, axes, analysis=analysis, **changes)

    create = SweepFolder.create

    def long_ago(self, sweep):
        lines = create(self, sweep)
        for file in self.root.glob("experiments/*/config.yaml"):
            os.utime(file, (1, 1))
        return lines

    monkeypatch.setattr(SweepFolder, "create", long_ago)
    run_sweep(sweep(1), tmp_path, Here())
    run = SweepFolder(tmp_path).experiment("r2")
    first = Results(run.root)["contribution"]
    engine = Here()
    run_sweep(sweep(1), tmp_path, engine)
    assert not engine.jobs
    run_sweep(sweep(2), tmp_path, engine)
    assert [job.kind for job in engine.jobs] == ["analysis", "experiment"]
    assert Results(run.root).manifest["seeds"]["analysis"] == 2
    assert not Results(run.root)["contribution"].equals(first)


def test_an_interrupted_sweep_goes_on(done, tmp_path):
    _, undisturbed, *_ = done
    sweep = replace(done[0], variants=done[0].variants[:1])
    out, engine = tmp_path / "out", Here(KeyboardInterrupt(), 2)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, out, engine)
    assert engine.closed and counts(status(sweep, out)) == {"whole": 2, "missing": 2}
    again = Here()
    run_sweep(sweep, out, again, reports=False)
    assert len(again.jobs) == 2
    for cell in plan_sweep(sweep):
        name = undisturbed.state(cell.key).about["hash"]
        assert SweepFolder(out).state(cell.key).about["hash"] == name
        ours, theirs = (
            pd.read_parquet(root / "cells" / name / "predictions.parquet") for root in (out, undisturbed.root)
        )
        pd.testing.assert_frame_equal(ours, theirs)


def test_a_grid_that_grew_finds_its_cells(copied, corpus, backbone_folder):
    _, folder = copied
    axes = {"rank": {"r2": RANKS["rank"]["r2"]}}
    grown = small(corpus, backbone_folder, axes, folds={"only": ["ann", "bob", "cy"]})
    engine = Here()
    assert counts(run_sweep(grown, folder.root, engine, reports=False)) == {"whole": 6}
    assert [job.words for job in engine.jobs] == ["r2: frozen, fold bob", "r2: LoRA r=2 v_proj, fold bob"]


def test_a_failed_cell_is_told_and_stops_nothing(copied, monkeypatch):
    sweep, folder = copied
    bad = plan_sweep(sweep)[5]
    for key in (plan_sweep(sweep)[1].key, bad.key):
        lose(folder, key)
    original = cells.train_and_test

    def failing(cell, *rest):
        if cell.rank == bad.cell.rank and cell.fold.name == bad.cell.fold.name:
            raise ValueError("loss is\nnot a number")
        return original(cell, *rest)

    monkeypatch.setattr(cells, "train_and_test", failing)
    said = []
    summary = run_sweep(sweep, folder.root, Here(), say=said.append)
    assert counts(summary) == counts(status(sweep, folder.root)) == {"whole": 5, "failed": 1}
    assert summary.errors == [f"{bad.words}: ValueError: loss is not a number"]
    about = folder.state(bad.key).about
    assert about["trace"].rstrip().endswith("not a number") and "failing" in about["trace"]
    assert f"{bad.slugs[0]}: no report, 1 of its 4 cells are not whole" in said
    # the experiment that lacks a cell is named below the table, and not in it
    text = summary.table.read_text()
    assert f"Not finished: {bad.slugs[0]}." in text and text.count("LoRA r=") == 1

    monkeypatch.setattr(cells, "train_and_test", original)
    assert counts(run_sweep(sweep, folder.root, Here(), reports=False)) == {"whole": 6}
    assert "error" not in folder.state(bad.key).about


@pytest.fixture
def impatient(monkeypatch):
    """Looks at locks often, and believes a silent holder elsewhere for a second."""
    for module in (locks, "lorascope.work.sweep"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.POLL", 0.05)
        monkeypatch.setattr(f"{name}.BEAT", 0.2)
    monkeypatch.setattr(locks, "STALE", 1.0)


def test_a_cell_that_another_sweep_computes_is_waited_for(copied, impatient):
    """The first of two sweeps does not end with an experiment lacking."""
    sweep, folder = copied
    cell = plan_sweep(sweep)[2]
    name = folder.state(cell.key).about["hash"]
    shutil.move(folder.run.cell(name), folder.root / "computed")
    said, summaries = [], []
    with held(folder.lock(name), "another sweep"):
        state = status(sweep, folder.root).states[cell.key]
        assert state.kind == "running" and state.about["pid"] == os.getpid()
        first = threading.Thread(
            target=lambda: summaries.append(run_sweep(sweep, folder.root, Here(), say=said.append))
        )
        first.start()
        until = time.monotonic() + 60
        while not any("waited for at the end" in line for line in said) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)
        assert not summaries
        shutil.move(folder.root / "computed", folder.run.cell(name))
    first.join()
    assert counts(summaries[0]) == {"whole": 6} and not summaries[0].errors and not summaries[0].lacking
    assert sum(cell.words in line for line in said) == 2
    assert f"[1/1] {cell.words}: whole before" in said


def test_a_cell_that_another_sweep_gave_up_is_computed(copied, impatient):
    sweep, folder = copied
    cell = plan_sweep(sweep)[2]
    name = folder.state(cell.key).about["hash"]
    lose(folder, cell.key)
    # in a container that is gone: pids say nothing, and nobody touches the lock
    far = dataclasses.replace(locks.me("another sweep"), host="elsewhere", machine="another boot")
    folder.lock(name).write_text(json.dumps(dataclasses.asdict(far)))
    engine = Here()
    summary = run_sweep(sweep, folder.root, engine, reports=False)
    assert counts(summary) == {"whole": 6} and [job.key for job in engine.jobs] == [cell.key] * 2
    assert not folder.lock(name).exists()


def test_an_experiment_that_another_sweep_finishes_is_waited_for(copied, impatient):
    sweep, folder = copied
    run = folder.experiment("r2")
    run.manifest.unlink()
    said, ended = [], []
    with held(run.lock, "another sweep"):
        first = threading.Thread(target=lambda: ended.append(run_sweep(sweep, folder.root, Here(), say=said.append)))
        first.start()
        time.sleep(1)
        assert not ended and not run.manifest.exists()
    first.join()
    assert not ended[0].errors and run.is_told() and not run.lock.exists()


def test_torn_records_and_locks_are_told_and_made_again(copied):
    sweep, folder = copied
    first, second = plan_sweep(sweep)[:2]
    record = folder.root / "sweep" / "cells" / f"{first.key}.json"
    record.write_text("")
    name = folder.state(second.key).about["hash"]
    lose(folder, second.key)
    folder.lock(name).write_bytes(bytes(100))
    said = []
    assert counts(run_sweep(sweep, folder.root, Here(), reports=False, say=said.append)) == {"whole": 6}
    assert {f"sweep/cells/{first.key}.json: empty or torn; made again",
            f"sweep/running/{name}.lock: empty or torn; made again"} <= set(said)  # fmt: skip


def test_a_folder_copied_with_its_links_followed_goes_on(done, tmp_path):
    """`cp -rL`, and whatever else knows no links."""
    sweep, folder, *_ = done
    out, slugs = tmp_path / "out", [variant.slug for variant in sweep.variants]
    shutil.copytree(folder.root, out)
    copied = SweepFolder(out)
    first, second = (copied.state(cell.key).about["hash"] for cell in plan_sweep(sweep)[:2])
    # one that is whole in a copy alone
    shutil.rmtree(copied.run.cell(first))
    flip(copied.run.cell(second) / "adapter" / "adapter_model.safetensors")
    os.truncate(copied.run.cell(second) / "train.log", 0)
    engine, said = Here(), []
    summary = run_sweep(sweep, out, engine, say=said.append)
    assert counts(summary) == {"whole": 6} and not summary.errors and not engine.jobs
    for slug in slugs:
        assert (copied.experiment(slug).root / "cells").is_symlink()
        line = f"experiments/{slug}/cells: a copy where a link should be (copied with cp -L?); linked again"
        assert line in said


def test_a_folder_of_its_own_where_a_link_should_be_is_refused(copied):
    sweep, folder = copied
    place = folder.experiment("r2").root / "cells"
    place.unlink()
    place.mkdir()
    (place / "thesis.docx").write_text("all of it")
    with pytest.raises(LorascopeError, match=r"r2/cells: is a folder of its own, with thesis\.docx in it"):
        run_sweep(sweep, folder.root, Here())
    assert (place / "thesis.docx").exists()
    shutil.rmtree(place)
    place.symlink_to(folder.root / "elsewhere")
    assert not run_sweep(sweep, folder.root, Here()).lacking and place.exists()


def test_cells_may_be_a_link_but_not_to_nowhere(copied, tmp_path):
    sweep, folder = copied
    key = plan_sweep(sweep)[1].key
    shutil.move(folder.root / "cells", tmp_path / "scratch")
    (folder.root / "cells").symlink_to(tmp_path / "scratch")
    lose(folder, key)
    (folder.experiment("r2").root / "report.html").unlink()
    engine = Here()
    summary = run_sweep(sweep, folder.root, engine)
    assert counts(summary) == {"whole": 6} and not summary.errors and [job.key for job in engine.jobs] == [key, "r2"]
    assert folder.experiment("r2").is_told() and (tmp_path / "scratch" / summary.states[key].about["hash"]).is_dir()
    shutil.move(tmp_path / "scratch", tmp_path / "moved")
    with pytest.raises(LorascopeError, match=r"cells: is a link to .*scratch, which isn't there; make that folder"):
        run_sweep(sweep, folder.root, Here())


def test_a_cell_that_is_a_link_to_nowhere_is_told_and_computed_again(copied):
    sweep, folder = copied
    cell = plan_sweep(sweep)[1]
    name = folder.state(cell.key).about["hash"]
    lose(folder, cell.key)
    folder.run.cell(name).symlink_to("gone")
    engine, said = Here(), []
    assert counts(run_sweep(sweep, folder.root, engine, reports=False, say=said.append)) == {"whole": 6}
    assert f"cells/{name}: a link that leads nowhere; computed again ({cell.words})" in said
    assert [job.key for job in engine.jobs] == [cell.key] and not folder.run.cell(name).is_symlink()


def test_cells_are_handed_back_where_the_worker_sees_no_folder(copied, tmp_path, monkeypatch):
    sweep, folder = copied
    key = plan_sweep(sweep)[3].key
    name = folder.state(key).about["hash"]
    theirs = pd.read_parquet(folder.run.cell(name) / "predictions.parquet")
    lose(folder, key)

    class Elsewhere(Here):
        def outcomes(self, work, jobs):
            for job, outcome in super().outcomes(work, jobs):
                assert outcome.packed and not folder.run.is_whole(name)
                yield job, outcome

    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "node"))
    summary = run_sweep(sweep, folder.root, Elsewhere(), apart=True, reports=False)
    assert counts(summary) == {"whole": 6} and summary.states[key].about["hash"] == name
    pd.testing.assert_frame_equal(pd.read_parquet(folder.run.cell(name) / "predictions.parquet"), theirs)
    assert {path.name for path in folder.run.cell(name).iterdir()} >= {"adapter", "metrics.json", "train.log"}
    # nothing is left on the node, and the journal tells who did it
    assert not list((tmp_path / "node" / "sweeps").glob("*/cells/*"))
    last = [line["event"] for line in folder.journal() if line["cell"] == name][-2:]
    assert last == ["started", "whole"]


def test_a_packed_cell_never_replaces_a_whole_one(copied):
    sweep, folder = copied
    name = folder.state(plan_sweep(sweep)[0].key).about["hash"]
    before = times(folder)
    packed = folder.run.cells.pack(name)
    assert not folder.run.cells.land(name, packed) and times(folder) == before
    # one that was broken on its way is no cell
    shutil.rmtree(folder.run.cell(name))
    with pytest.raises(LorascopeError, match=r"cells/\w+: metrics.json: not what was sealed when it arrived"):
        folder.run.cells.land(name, packed.replace(b'"uar"', b'"uas"'))
    assert not folder.run.is_whole(name)
    assert folder.run.cells.land(name, packed) and seals.fault(folder.run.cell(name)) is None


def test_an_engine_that_loses_a_worker_is_told_of_it(copied):
    sweep, folder = copied
    cell = plan_sweep(sweep)[0]
    lose(folder, cell.key)

    class Losing(Here):
        def outcomes(self, work, jobs):
            yield from ((job, LorascopeError("its process was killed")) for job in jobs)

    summary = run_sweep(sweep, folder.root, Losing(), reports=False)
    assert summary.errors == [f"{cell.words}: its process was killed"]
    assert status(sweep, folder.root).states[cell.key].kind == "failed"


def test_a_corpus_that_differs_on_a_node_is_told(done, tmp_path, backbone_folder):
    manifest = make_corpus(tmp_path / "corpus", clips_per_class=1)
    sweep = small(manifest, backbone_folder, {"seed": {"s1": {"seed": 1}}}, folds={"only": ["ann"]})

    class Other(Here):
        def outcomes(self, work, jobs):
            table = pd.read_csv(manifest)
            table.iloc[1:].to_csv(manifest, index=False)
            return super().outcomes(work, jobs)

    summary = run_sweep(sweep, tmp_path / "out", Other(), reports=False)
    assert len(summary.errors) == 2 and all(
        "is another than where the sweep was started" in line for line in summary.errors
    )


def test_a_folder_that_the_node_does_not_see_is_told(done, tmp_path):
    sweep, *_ = done

    class Blind(Here):
        def outcomes(self, work, jobs):
            return super().outcomes(work, [replace(job, out=str(tmp_path / "nowhere")) for job in jobs])

    summary = run_sweep(sweep, tmp_path / "out", Blind(), reports=False)
    assert counts(summary) == {"missing": 6} and len(summary.lacking) == 6


def test_the_command_does_not_end_with_0_where_something_is_lacking(
    capsys, monkeypatch, tmp_path, corpus, backbone_folder
):
    class Blind(Here):
        def outcomes(self, work, jobs):
            return super().outcomes(work, [replace(job, out=str(tmp_path / "nowhere")) for job in jobs])

    monkeypatch.setattr("lorascope.work.engines.local.LocalEngine", lambda *_: Blind())
    grid = grid_file(tmp_path, corpus, backbone_folder, grid={"seed": [1]})
    code, out, _ = call(capsys, grid, "--out", tmp_path / "sweep", "--set", "folds.only=[ann]", "--cells-only")
    assert code == 3 and "2 cells are not whole; the same command computes them" in out


def test_a_folder_with_other_things_in_it_is_refused(done, tmp_path):
    (tmp_path / "thesis.docx").write_text("all of it")
    with pytest.raises(LorascopeError, match="is not empty and holds no sweep"):
        run_sweep(done[0], tmp_path, Here())


def test_an_experiment_that_cannot_be_reported_is_told(copied, monkeypatch):
    sweep, folder = copied
    (folder.experiment("r2").root / "report.html").unlink()
    monkeypatch.setattr("lorascope.report.write_all", lambda root, _: 1 / 0)
    summary = run_sweep(sweep, folder.root, Here())
    assert counts(summary) == {"whole": 6} and summary.errors == ["r2: ZeroDivisionError: division by zero"]


def grid_file(tmp_path, manifest, backbone, **changes):
    base = settings_of(manifest, backbone, analysis=None, methods=QUICK)
    grid = {"name": "small", "experiment": base, "grid": {"seed": [1, 2]}} | changes
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    return tmp_path / "grid.yaml"


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["sweep", *map(str, arguments)])
        raise SystemExit(0)
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def test_a_dry_run_needs_no_weights_and_writes_nothing(tmp_path, corpus, capsys):
    grid = grid_file(tmp_path, corpus, "openai/whisper-large-v3")
    code, out, _ = call(capsys, grid, "--out", tmp_path / "out", "--dry-run", "--json", "--gflops", 1000)
    told = json.loads(out)
    assert code == 0 and not (tmp_path / "out").exists()
    assert len(told["cells"]) == 8 and {cell["state"] for cell in told["cells"]} == {"missing"}
    assert all(cell["seconds"] > 0 for cell in told["cells"] if cell["label"] != "frozen")
    assert [experiment["name"] for experiment in told["experiments"]] == ["1", "2"]
    code, out, _ = call(capsys, grid, "--out", tmp_path / "out", "--dry-run", "--gflops", 1000)
    assert code == 0 and "8 cells, each once: 0 whole" in out and "at 1000 GFLOP/s (--gflops)" in out
    lines = [line.split() for line in out.splitlines()]
    of_cells = [line for line in lines if line[-3:-2] == ["missing"]]
    assert len(of_cells) == 8 and {(line[0], line[-4]) for line in of_cells} == {
        (name, fold) for name in "12" for fold in {cell["fold"] for cell in told["cells"]}
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--engine", "slurm"], "--engine slurm: expected local or ray"),
        (["--engine", "ray", "--storage", "moon"], "--storage moon: expected shared or node"),
        (["--set", "seed=3"], "grid.seed sets seed"),
        (["--workers", "9999", "--threads", "9999"], "more than this machine's"),
    ],
)
def test_wrong_options_are_told(tmp_path, corpus, backbone_folder, capsys, arguments, told):
    grid = grid_file(tmp_path, corpus, backbone_folder)
    code, _, err = call(capsys, grid, "--out", tmp_path / "out", *arguments)
    assert code == 2 and told in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_ray_is_an_extra(tmp_path, corpus, backbone_folder, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "ray" else object())
    code, _, err = call(
        capsys, grid_file(tmp_path, corpus, backbone_folder), "--out", tmp_path / "out", "--engine", "ray"
    )
    assert code == 2 and "pip install 'lorascope[cluster]'" in err


def test_the_command_ends_with_1_where_something_failed(capsys, monkeypatch, backbone_folder, tmp_path):
    monkeypatch.setattr("lorascope.work.engines.local.LocalEngine", lambda *_: Here())
    manifest = make_corpus(tmp_path / "corpus", clips_per_class=1)
    (tmp_path / "corpus" / "bob-anger-0.wav").write_bytes(b"RIFF nothing")
    grid = grid_file(tmp_path, manifest, backbone_folder, grid={"seed": [1]})
    code, out, _ = call(capsys, grid, "--out", tmp_path / "sweep", "--set", "folds.only=[ann]")
    assert code == 1 and out.count("bob-anger-0.wav: cannot be read as audio") == 2
    code, out, _ = call(capsys, grid, "--out", tmp_path / "sweep", "--set", "folds.only=[ann]", "--status")
    assert code == 0 and "0 whole, 0 running, 2 failed, 0 missing" in out and "bob-anger-0.wav" in out


def test_a_cell_for_which_the_disk_has_no_room_says_so(tmp_path, monkeypatch):
    import errno
    import os

    from lorascope.work import unit

    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "cells" / "x"))
    told = unit.failure(error, tmp_path).error
    assert told.startswith(f"{tmp_path}/cells/x: cannot be written: No space left on device (")
    monkeypatch.setattr("lorascope.machine.endings._refusal", lambda place: errno.EDQUOT if place == tmp_path else None)
    unnamed = unit.failure(OSError(errno.ENOSPC, "No space"), tmp_path).error
    assert unnamed.startswith(f"{tmp_path}: cannot be written: {os.strerror(errno.EDQUOT)}")
    assert unit.failure(ValueError("no"), tmp_path).error == "ValueError: no"
