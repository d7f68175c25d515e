"""Advice is what planted tables say; what they cannot say is told, with the lines that would make it tellable."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from peft import LoraConfig, get_peft_model

import lorascope
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.findings.over_units import write_findings
from lorascope.store.finished import ANALYSIS_TABLES, FinishedRun

from ..report.folders import make_analysis, make_run, make_units
from ..report.recipe import Recipe
from ..tiny import tiny_whisper

LAYERS, RANK = 4, 8
NONE = Recipe(without=tuple(ANALYSIS_TABLES))


def cut(delta, half=0.01, uar=0.8):
    """The columns of an answer whose UAR changed by delta, within half on either side."""
    found = {"uar": uar + delta, "uar_low": uar + delta - 0.1, "uar_high": uar + delta + 0.1}
    return found | {"delta_uar": delta, "delta_uar_low": delta - half, "delta_uar_high": delta + half}


def dial(last=(-0.5, -0.2, 0.0, 0.0, 0.0), first=(-0.5, -0.4, -0.3, -0.2, 0.0), modules=None, half=0.01):
    """A dial: UAR by how many of the last and first blocks are on, and by kind of module (without it, it alone)."""
    rows = [("whole", -1, "", 0.0, last[0]), ("whole", -1, "", 1.0, 0.0)]
    rows += [("last", at, "", 1.0, delta) for at, delta in enumerate(last)]
    rows += [("first", at, "", 1.0, delta) for at, delta in enumerate(first)]
    rows += [("block", at, "", 0.0, -0.2 if at == 3 else 0.0) for at in range(LAYERS)]
    for name, (without, alone) in (modules or {}).items():
        rows += [("module", -1, name, 0.0, without), ("module-alone", -1, name, 1.0, alone)]
    told = [dict(zip(("dial", "at", "module", "alpha"), row[:4], strict=True)) | cut(row[4], half) for row in rows]
    return pd.DataFrame(told).assign(interval_of="speakers", clips=40)


def rank_dial(least=0.2, local=0.5, half=0.01):
    """A rank dial whose UAR holds down to these shares."""
    rows = []
    for share in (1.0, 0.5, 0.2, 0.1, 0.0):
        count = round(share * LAYERS * RANK)
        for way, last in (("global", least), ("local", local)):
            delta = 0.0 if share >= last else -0.1
            rows.append({"way": way, "share": share, "draw": -1, "directions": count} | cut(delta, half))
        for draw in range(5 if 0 < share < 1 else 0):
            rows.append({"way": "random", "share": share, "draw": draw, "directions": count} | cut(-0.3))
    return pd.DataFrame(rows).assign(of=LAYERS * RANK, interval_of="speakers", clips=40)


def spectra(large=(0, 0, 2, 4)):
    """σ of every matrix, so many of each being large."""
    rows = [
        {"layer": layer, "module": "v_proj", "index": at + 1, "sigma": (5.0 if at < count else 0.1) - 0.01 * at}
        for layer, count in enumerate(large)
        for at in range(RANK)
    ]
    return pd.DataFrame(rows)


def weights(modules=("v_proj",)):
    keys = [(layer, module) for layer in range(LAYERS) for module in modules]
    told = {"rank": RANK, "nominal_rank": RANK, "entropy_rank": 2.5}
    return pd.DataFrame([{"layer": layer, "module": module} | told for layer, module in keys])


def probes(**moved):
    """Probes at two depths: score of the trained encoder, and its change (target=change) at the top."""
    rows = []
    for target, change in moved.items():
        for depth, share in ((0, 0.0), (LAYERS, 1.0)):
            for model, score in (("frozen", 0.8), ("trained", 0.8 + share * change), ("difference", share * change)):
                row = {"target": target, "model": model, "depth": depth, "metric": "uar", "score": score}
                row |= {"score_low": score - 0.05, "score_high": score + 0.05, "control_task": 0.25}
                rows.append(row | {"selectivity": score - 0.25, "selectivity_low": score - 0.35})
    return pd.DataFrame(rows).assign(interval_of="speakers")


def run_of(folder, tables, **method):
    """A run on whose first adapter these tables were taken."""
    run = make_run(folder, NONE)
    plant(run / "analysis", tables)
    settings = {"kind": "lora", "targets": ["v_proj"], "rank": RANK, "alpha": 16.0, "layers": None} | method
    (run / "config.yaml").write_text(yaml.safe_dump({"methods": {"lora": settings}}))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["backbone"]["layers"] = LAYERS
    manifest["analysis"]["settings"] = {"measures": ["lens"]}
    names = {"hash": "one", "name": "lora", "label": "LoRA", "control": None, "fold": "01", "seed": 1}
    manifest["analyses"] = [names | {"seconds": 1.0}]
    (run / "manifest.json").write_text(json.dumps(manifest))
    plant(run / "analyses" / "one", tables)
    (run / "analyses" / "one" / "about.json").write_text(json.dumps(manifest["analysis"]))
    return run


def plant(folder, tables):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, table in tables.items():
        table.to_parquet(folder / f"{stem}.parquet", index=False)


def answers(run):
    """Answers by the question's second word: layers, modules, rank, it (carry)."""
    return {answer.question.split()[1].strip("?"): answer for answer in lorascope.advise(run).answers}


def configured(run):
    """What PEFT makes of the lines: rank and scale of each adapted module of a Whisper of as many blocks."""
    config = eval(f"LoraConfig({chr(10).join(lorascope.advise(run).lines)}\n)", {"LoraConfig": LoraConfig})
    peft = get_peft_model(tiny_whisper(layers=LAYERS), config)
    found = {}
    for name, module in peft.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            block = name.split("layers.")[1].split(".")
            found[int(block[0]), block[-1]] = module.r["default"], module.scaling["default"]
    return found


EVERYTHING = {
    "dial": dial(),
    "rank_dial": rank_dial(),
    "weight_spectra": spectra(),
    "weights": weights(),
    "probes": probes(speaker=-0.2, sentence=0.01),
}


def test_planted_layers_and_ranks_are_told_and_peft_takes_the_lines(tmp_path):
    run = run_of(tmp_path / "run", EVERYTHING)
    found = answers(run)
    assert found["layers"].answer == "blocks 2, 3"
    evidence = " ".join(found["layers"].evidence)
    assert "The last 2 of 4 blocks alone: change +0.000 [−0.010, +0.010]" in evidence
    assert "The last 1: change −0.200 [−0.210, −0.190]" in evidence and "block 3 (change −0.200" in evidence
    # a fifth of 32 directions are 6, of which the last block has 4 and the one below 2
    assert found["rank"].answer == "4 at most (block 0 v_proj 0, block 1 v_proj 0, block 2 v_proj 2, block 3 v_proj 4)"
    told = " ".join(found["rank"].evidence)
    assert "0 of 5 random draws of as many are as good" in told and "Entropy rank of ΔW: 2.5 to 2.5 of 8" in told
    assert "Each matrix' own first 4 of 8" in told
    assert configured(run) == {(2, "v_proj"): (2, 2.0), (3, "v_proj"): (4, 2.0)}


def test_what_is_carried_is_told_with_its_change(tmp_path):
    carry = answers(run_of(tmp_path / "run", EVERYTHING))["it"]
    less, unclear = "less than the frozen encoder", "as much as the frozen encoder, as far as can be told"
    assert carry.answer == f"speaker: yes, {less}; sentence: yes, {unclear}"
    assert carry.evidence[0] == (
        "speaker at depth 4: UAR 0.600 [0.550, 0.650] (frozen 0.800), control task 0.250; "
        "change −0.200 [−0.250, −0.150]"
    )


def test_a_target_that_was_not_probed_has_its_reason(tmp_path):
    reasons = pd.DataFrame([{"target": "sentence", "reason": "the clips have no text"}])
    tables = {"probes": probes(speaker=0.1), "probe_reasons": reasons}
    carry = answers(run_of(tmp_path / "run", tables))["it"]
    assert carry.answer == "speaker: yes, more than the frozen encoder"
    assert "sentence: the clips have no text" in carry.evidence and "`text`" in carry.lacking[0]


def transcripts(change, half=0.02, text=True):
    """Word error rates: the bare encoder's is .01, the trained one's more by `change`."""
    rates = {("text", "frozen"): 0.01, ("text", "trained"): 0.01 + change, ("text", "difference"): change}
    rates = rates if text else dict.fromkeys(rates, float("nan"))
    rows = [
        {"quantity": "wer", "against": against, "model": model, "emotion": "", "rate": rate}
        | {"rate_low": rate - half, "rate_high": rate + half, "exact": 0.75, "note": "" if text else "no text"}
        for (against, model), rate in {**rates, ("bare transcript", "trained"): change}.items()
    ]
    return pd.DataFrame(rows).assign(interval_of="speakers", clips=40)


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        (transcripts(0.33), "less: 33.0% more of the words are mistaken"),
        (transcripts(0.01), "as much as before, as far as can be told (at most 3.0% more of the words are mistaken)"),
        (transcripts(0.33, text=False), "33.0% of the words are written down otherwise than with the bare encoder"),
    ],
)
def test_what_of_recognition_is_left_is_told(tmp_path, table, answer):
    found = answers(run_of(tmp_path / "run", {"recognition": table}))["of"]
    assert found.answer == answer and "75% of the clips are written down alike" in " ".join(found.evidence)
    lacking = answers(run_of(tmp_path / "none", {"dial": dial()}))["of"]
    assert lacking.answer is None and "measures: [lens, recognition]" in " ".join(lacking.lacking)


@pytest.mark.parametrize(
    ("modules", "answer", "targets"),
    [
        ({"v_proj": (-0.3, -0.01), "fc1": (0.0, -0.3)}, "v_proj alone is enough", ["v_proj"]),
        ({"v_proj": (-0.3, -0.1), "fc1": (-0.2, -0.3)}, "all of them", ["v_proj", "fc1"]),
        (
            {"v_proj": (-0.3, -0.1), "fc1": (-0.2, -0.3), "fc2": (0.0, -0.4)},
            "v_proj, fc1: fc2 can go",
            ["v_proj", "fc1"],
        ),
        (
            {"v_proj": (-0.3, -0.1), "fc1": (-0.01, -0.3), "fc2": (0.0, -0.4)},
            "v_proj, fc1: fc2 can go",
            ["v_proj", "fc1"],
        ),
    ],
)
def test_planted_modules_are_told(modules, answer, targets, tmp_path):
    tables = {"dial": dial(modules=modules), "weights": weights(tuple(modules))}
    found = answers(run_of(tmp_path / "run", tables, targets=list(modules)))["modules"]
    assert found.answer == answer
    assert found.lines == (f"target_modules=[{', '.join(f'{chr(34)}{name}{chr(34)}' for name in targets)}],",)
    several = sum(without > -0.02 for without, _ in modules.values()) > 1
    assert any("going together was not measured" in text for text in found.evidence) == several


def test_modules_bear_the_names_of_the_encoder(tmp_path):
    modules = {"v_proj": (-0.3, -0.1), "fc1": (-0.2, -0.3)}
    run = run_of(tmp_path / "run", {"dial": dial(modules=modules)})
    for cell in (run / "cells").glob("lora-*"):
        (cell / "adapter").mkdir()
        config = {"target_modules": ["attention.v_proj", "feed_forward.intermediate_dense"]}
        (cell / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    assert answers(run)["modules"].lines == ('target_modules=["v_proj", "intermediate_dense"],',)


def test_one_kind_of_module_cannot_be_told_and_the_lines_would_tell_it(tmp_path):
    found = answers(run_of(tmp_path / "run", {"dial": dial(), "weights": weights()}))["modules"]
    assert found.answer is None and found.evidence == ("only v_proj is adapted",)
    data = yaml.safe_load("\n".join(found.lacking))
    assert data["analysis"] == {"measures": ["lens", "dial"], "method": "lora-all"}
    assert data["methods"]["lora-all"]["targets"] == ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    assert found.lines[0].startswith('target_modules=["v_proj"],  # as trained')


def test_a_run_without_the_measures_can_tell_nothing(tmp_path):
    run = run_of(tmp_path / "run", {})
    for answer in lorascope.advise(run).answers:
        assert answer.answer is None and answer.evidence and answer.lacking
    as_trained = 'target_modules=["v_proj"],  # as trained; others can\'t be told'
    cannot = [f"# {name}: can't tell from this run" for name in ("layers_to_transform", "r, rank_pattern")]
    assert lorascope.advise(run).lines == [cannot[0], as_trained, cannot[1]]
    assert "measures: [lens, rank_dial, weights]" in str(lorascope.advise(run))


def test_an_analysis_of_a_given_adapter_is_told_the_options(tmp_path):
    run = make_analysis(tmp_path / "run", NONE)
    plant(run / "analysis", {"rank_dial": rank_dial()})
    found = answers(run)
    assert found["layers"].lacking == ('--set "measures=[dial]"',)
    # without σ the matrices' own share tells the rank, once it is known of how many
    assert found["rank"].answer == "0.2 of what it has" and found["rank"].lacking


def test_the_rank_without_the_spectra_is_one_for_all(tmp_path):
    found = answers(run_of(tmp_path / "run", {"rank_dial": rank_dial()}))["rank"]
    assert found.answer == "4 in each matrix" and found.lines == ("r=4,", "lora_alpha=8,  # the scale as trained")


def test_an_adapter_whose_layers_gain_nothing_is_told_as_that(tmp_path):
    tables = {"dial": dial(last=(0.0,) * 5, first=(0.0,) * 5), "rank_dial": rank_dial(least=0.0)}
    found = answers(run_of(tmp_path / "run", tables))
    assert found["layers"].answer == "none is clearly needed" and "frozen baseline" in found["layers"].evidence[1]
    assert found["rank"].answer == "none is clearly needed"


def test_a_gain_that_is_not_clear_or_has_no_interval_cannot_be_told(tmp_path):
    unclear = answers(run_of(tmp_path / "a", {"dial": dial(last=(-0.1, -0.1, -0.1, -0.1, 0.0), half=0.3)}))["layers"]
    assert unclear.answer is None and "not clear" in unclear.evidence[1]
    assert unclear.lacking == ("analysis:", "  folds: all")
    tables = {"dial": dial(half=float("nan")), "rank_dial": rank_dial(half=float("nan"))}
    none = answers(run_of(tmp_path / "b", tables))
    assert none["layers"].answer is None and "no interval" in none["layers"].evidence
    assert none["rank"].answer is None and "no interval" in none["rank"].evidence[0]


def test_an_adapter_at_chance_tells_nothing(tmp_path):
    """Of an answer that is none, every part is as good as all."""
    modules = {"v_proj": (0.0, 0.0), "fc1": (0.0, 0.0)}
    flat = {"last": (0.0,) * 5, "first": (0.0,) * 5, "modules": modules}
    tables = {"dial": dial(**flat), "rank_dial": rank_dial(least=0.0)}
    for name in tables:
        tables[name][["uar", "uar_low", "uar_high"]] = 0.3, 0.2, 0.4
    found = answers(run_of(tmp_path / "run", tables))
    for question in ("layers", "modules", "rank"):
        assert found[question].answer is None
        assert found[question].evidence == (
            "the whole adapter is not clearly better than chance (0.250): UAR 0.300 [0.200, 0.400]",
        )


def test_neither_end_can_be_spared(tmp_path):
    both = (-0.5, -0.4, -0.3, -0.2, 0.0)
    found = answers(run_of(tmp_path / "run", {"dial": dial(last=both, first=both)}))["layers"]
    assert found.answer is not None and found.answer.startswith("all that are adapted")
    assert found.lines == ("# layers_to_transform: all are needed",)


def test_of_several_units_the_means_are_read_and_the_control_is_told(tmp_path):
    run = make_units(tmp_path / "run", folds=3)
    plant(run / "analysis", {"dial": dial(last=(-0.5, 0.0, 0.0, 0.0, 0.0))})
    told = {"method": "lora", "control": ""}
    over = {"dial": dial().assign(**told), "probes": pd.concat([
        probes(speaker=-0.2).assign(**told),
        probes(speaker=-0.1).assign(method="shuffled", control="shuffled_labels"),
    ])}  # fmt: skip
    plant(run / "findings", over)
    advice = lorascope.advise(run)
    assert "6 adapters of 3 folds and 2 seeds; intervals are over folds" in advice.about[0]
    found = answers(run)
    assert found["layers"].answer == "blocks 2, 3"
    assert "with shuffled labels −0.100 [−0.150, −0.050]" in found["it"].evidence[0]


def test_what_findings_make_of_units_can_be_read(tmp_path):
    """The tables of a run's own aggregation: a block is needed in every fold, or the mean doesn't show it."""
    run = make_units(tmp_path / "run", folds=3, seeds=(1,), control=False)
    keys = {"dial": ["dial", "at", "module", "alpha"], "rank_dial": ["way", "share", "draw"]}
    for number, unit in enumerate(FinishedRun(run).analyses):
        for file in unit.path.glob("*.parquet"):
            file.unlink()
        last = (-0.5 - 0.01 * number, -0.2 - 0.01 * number, 0.0, 0.0, 0.0)
        plant(unit.path, {"dial": dial(last=last), "rank_dial": rank_dial()})
        about = json.loads((unit.path / "about.json").read_text())
        (unit.path / "about.json").write_text(json.dumps(about | {"keys": keys}))
    write_findings(run)
    found = answers(run)
    assert found["layers"].answer == "blocks 2, 3"
    assert "The last 1: change −0.210 [" in " ".join(found["layers"].evidence)
    assert "6 of 32 directions" in found["rank"].evidence[0] and found["rank"].answer == "0.2 of what it has"


def test_marks_stand_above_the_numbers(tmp_path):
    run = make_run(tmp_path / "run", Recipe(synthetic=True, optimistic=("leaked",), without=tuple(ANALYSIS_TABLES)))
    assert {"Synthetic speech.", "Optimistic: leaked."} <= set(lorascope.advise(run).about)


def test_the_verb_prints_it_without_torch(tmp_path):
    run = run_of(tmp_path / "run", EVERYTHING)
    code = (
        "import sys; from lorascope.cli import main\ntry:\n main(['advise', sys.argv[1]])\n"
        "except SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert "    layers_to_transform=[2, 3]," in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "False"


def test_the_verb_gives_json_and_refuses_what_is_no_run(tmp_path, capsys):
    run = run_of(tmp_path / "run", EVERYTHING)
    with pytest.raises(SystemExit) as end:
        main(["advise", str(run), "--json"])
    assert end.value.code in (None, 0)
    told = json.loads(capsys.readouterr().out)
    assert told["lines"] == lorascope.advise(run).lines and told["answers"][0]["answer"] == "blocks 2, 3"
    with pytest.raises(SystemExit) as end:
        main(["advise", str(tmp_path)])
    assert end.value.code == 2 and "manifest.json" in capsys.readouterr().err
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"analysis": None}))
    with pytest.raises(LorascopeError, match="nothing was analysed"):
        lorascope.advise(run)
