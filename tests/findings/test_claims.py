"""Statements are decided as docs/claims.md has it; what doesn't belong together is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import lorascope
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.findings import claims
from lorascope.findings.claims import built_in, decide
from lorascope.findings.claims.gathering import gather
from lorascope.findings.claims.setting import TEST, Setting, Unit
from lorascope.findings.claims.statement import FIXED, Part, Statement
from lorascope.findings.claims.verdicts import (
    CONTRADICTED,
    MIXED,
    SUPPORTED,
    UNDECIDED,
    UNTESTABLE,
    decided,
    overall,
)
from lorascope.statistics.stats import corrected_resampled_t

from .claim_runs import config_of, edit, write_run
from .world import EFFECTS, World, setting

#: Of a run that is refused no table is looked at.
LITTLE = {"stems": ("dial",), "clips": (TEST,)}
SMALL = World({"a": 6.0, "b": -6.0, "m": 6.0}, folds=5, seeds=1, layers=4, seed_sd=0.2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("claims") / "run", SMALL)


# ------------------------------------------------------------------------------------- planted truths, number by number


def of_world(world: World, rng: np.random.Generator) -> tuple[list[Statement], Setting]:
    """The built-in statements with the numbers of a world in the place of their tables' statistics: an adapter's number
    of a part is the statement's own, and of a second part that plus a little.
    """
    drawn = {name: world.drawn(rng, name) for name in EFFECTS}
    units = [Unit(f"f{fold}", seed, lambda *_: None) for fold in range(world.folds) for seed in range(world.seeds)]
    places = {(unit.fold, unit.seed): divmod(place, world.seeds) for place, unit in enumerate(units)}

    def part_of(statement: Statement, number: int, part: Part) -> Part:
        values = drawn[statement.name] + 0.1 * number * world.drawn(rng, "")
        if part.more is not None:
            # an order of four classes, of which the number is the tendency
            noise = rng.normal(size=(*values.shape, 4))
            from lorascope.statistics.decisions import ordered

            trend = 0.4 * drawn[statement.name][..., None] * (np.arange(4) - 1.5) + noise
            values = np.apply_along_axis(ordered, -1, trend)
        return replace(part, statistic=lambda _, unit, __: part.sign * float(values[places[unit.fold, unit.seed]]))

    statements = [
        replace(
            statement,
            variants=("corrected",),
            parts=tuple(part_of(statement, number, part) for number, part in enumerate(statement.parts)),
        )
        for statement in built_in()
    ]
    made = Setting("c", "e", "LoRA", 4, (), units, 1 / (world.folds - 1), created="2026-12-01T00:00:00+00:00")
    return statements, made


def verdicts_of(world: World, rng: np.random.Generator) -> pd.Series:
    statements, made = of_world(world, rng)
    return decided(statements, [made]).drop_duplicates("statement").set_index("statement")["verdict"]


def shares_wrong(draws: int, seed: int) -> pd.Series:
    """By family, the share of draws from a world without any effect in which any of its statements is decided."""
    rng = np.random.default_rng(seed)
    families = {statement.name: statement.family for statement in built_in()}
    wrong = []
    for _ in range(draws):
        found = verdicts_of(World(), rng)
        wrong.append(found.isin([SUPPORTED, CONTRADICTED]).groupby(families).any())
    return pd.DataFrame(wrong).mean()


def shares_right(draws: int, seed: int, effect: float) -> pd.Series:
    """By statement, the share of draws in which it is decided rightly; every other one holds, the rest are reversed."""
    rng = np.random.default_rng(seed)
    right = []
    for draw in range(draws):
        signs = {name: (-1) ** (place + draw) for place, name in enumerate(EFFECTS)}
        found = verdicts_of(World({name: effect * sign for name, sign in signs.items()}), rng)
        expected = pd.Series({name: SUPPORTED if sign > 0 else CONTRADICTED for name, sign in signs.items()})
        right.append(found == expected.reindex(found.index))
    return pd.DataFrame(right).mean()


def test_planted_statements_are_decided_and_others_hardly_ever() -> None:
    right = shares_right(6, seed=1, effect=4.0)
    assert right.drop("g'").min() >= 0.9, right
    # six draws tell of gross errors alone: see the slow one
    assert shares_wrong(12, seed=2).mean() <= 0.15


@pytest.mark.slow
def test_planted_statements_are_decided_rightly_in_nine_of_ten_draws() -> None:
    right = shares_right(100, seed=3, effect=4.0)
    assert right.min() >= 0.9, right


@pytest.mark.slow
def test_without_an_effect_a_family_is_wrong_in_one_of_twenty_draws_at_most() -> None:
    draws = 400
    wrong = shares_wrong(draws, seed=4)
    # the largest of eight shares: their standard error times the normal quantile of 1 - .05 / 8
    assert wrong.max() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / draws), wrong


@pytest.mark.slow
def test_the_same_through_the_tables() -> None:
    rng = np.random.default_rng(5)
    signs = {name: (-1) ** place for place, name in enumerate(EFFECTS)}
    right = []
    for _ in range(10):
        world = World({name: 5.0 * sign for name, sign in signs.items()})
        table = decided(built_in(), [setting(world, rng)])
        found = table[table["variant"] == "corrected"].drop_duplicates("statement").set_index("statement")["verdict"]
        right.append(
            found == pd.Series({n: SUPPORTED if s > 0 else CONTRADICTED for n, s in signs.items()})[found.index]
        )
    assert pd.DataFrame(right).mean().min() >= 0.9


# ------------------------------------------------------------------------------------------------ what a row says


def test_a_row_is_the_folds_mean_with_their_corrected_t_and_the_share_of_adapters() -> None:
    world = World({"l": 1.0}, folds=6, seeds=2, layers=4)
    made = setting(world, np.random.default_rng(6), stems=("dial",))
    row = decided([each for each in built_in() if each.name == "l"], [made]).set_index("statement").loc["l"]
    values = {}
    for unit in made.units:
        dial = unit.read("trained", TEST, "dial").set_index(["dial", "at"])["uar"]
        values.setdefault(unit.fold, []).append(dial["last", 1] - dial["first", 1])
    means = np.array([np.mean(of) for of in values.values()])
    expected = corrected_resampled_t(means, 5, 1)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((means.mean(), expected.low, expected.high))
    assert row["p"] == row["p_adjusted"] == pytest.approx(expected.p)
    assert row["size"] == pytest.approx(means.mean() / means.std(ddof=1))
    every = np.concatenate(list(values.values()))
    assert row["same_sign"] == np.mean(np.sign(every) == np.sign(means.mean()))
    assert (row["folds"], row["seeds"], row["units"]) == (6, 2, 12)


def one(values: dict[tuple[str, int], float], name: str = "x", sign: int = 1, family: str = "f") -> Statement:
    part = Part("x", sign, "none", lambda _, unit, __: values[unit.fold, unit.seed])
    return Statement(name, family, "X", (part,), (), ("corrected",))


def plain(folds: int, corpus: str = "c", encoder: str = "e") -> Setting:
    units = [Unit(f"f{fold}", 0, lambda *_: None) for fold in range(folds)]
    created = "2026-12-01T00:00:00+00:00"
    return Setting(corpus, encoder, "LoRA", 4, (), units, 1 / (folds - 1) if folds > 1 else 1.0, created=created)


def fold_values(*numbers: float) -> dict[tuple[str, int], float]:
    return {(f"f{fold}", 0): number for fold, number in enumerate(numbers)}


def verdict_of(*numbers: float, sign: int = 1) -> str:
    return decided([one(fold_values(*numbers), sign=sign)], [plain(len(numbers))])["verdict"].iloc[0]


def test_four_of_five_adapters_must_have_the_sign() -> None:
    few = [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, -0.1, -0.1, -0.1]
    assert verdict_of(*few) == UNDECIDED and verdict_of(*few[:-1], 5.0) == SUPPORTED
    assert verdict_of(*few[:-1], 5.0, sign=-1) == CONTRADICTED


def test_four_folds_are_too_few_and_the_numbers_are_told() -> None:
    row = decided([one(fold_values(1.0, 1.1, 1.2, 1.1))], [plain(4)]).iloc[0]
    assert row["verdict"] == UNTESTABLE and row["value"] == pytest.approx(1.1) and "4 folds" in row["reason"]
    assert "folds: all" in row["lines"] and np.isnan(row["p_adjusted"])


def test_parts_that_point_to_different_sides_decide_nothing() -> None:
    holds, reversed_ = one(fold_values(*[1.0, 1.1, 1.2, 1.1, 0.9])), one(fold_values(*[-1.0, -1.1, -1.2, -1.1, -0.9]))
    both = replace(holds, parts=(*holds.parts, *reversed_.parts))
    rows = decided([both], [plain(5)])
    assert set(rows["verdict"]) == {UNDECIDED} and set(rows["p_adjusted"]) == {1.0} and (rows["p"] < 0.01).all()


def test_the_weaker_part_counts() -> None:
    strong, weak = one(fold_values(*[1.0, 1.1, 1.2, 1.1, 0.9])), one(fold_values(*[2.0, 0.1, 0.2, 0.1, 0.9]))
    both = replace(strong, parts=(*strong.parts, *weak.parts))
    rows = decided([both], [plain(5)])
    assert set(rows["p_statement"]) == {rows["p"].max()} and set(rows["verdict"]) == {UNDECIDED}


def test_holm_is_within_a_family_and_a_setting_and_not_over_what_is_not_tested() -> None:
    rng = np.random.default_rng(7)
    values = [fold_values(*(rng.normal(size=6) + shift)) for shift in (1, 1.5, 2)]
    statements = [one(each, name, family=family) for each, name, family in zip(values, "xyz", "ffg", strict=True)]

    def lacking(*_):
        from lorascope.findings.claims.statement import Lacking

        raise Lacking("no")

    untested = replace(one(values[0], "w"), parts=(Part("w", 1, "none", lacking),))
    rows = decided([*statements, untested], [plain(6), plain(6, "d")]).set_index(["corpus", "statement"])
    for corpus in "cd":
        p = rows.loc[corpus]["p"]
        first, second = sorted(p[["x", "y"]])
        assert sorted(rows.loc[corpus].loc[["x", "y"], "p_adjusted"]) == pytest.approx(
            [2 * first, max(2 * first, second)]
        )
        assert rows.loc[corpus, "z"]["p_adjusted"] == p["z"]
        assert rows.loc[corpus, "w"]["verdict"] == UNTESTABLE


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"c e": SUPPORTED, "c f": SUPPORTED, "d e": SUPPORTED}, SUPPORTED),
        ({"c e": SUPPORTED, "c f": UNDECIDED, "d e": SUPPORTED}, SUPPORTED),
        # none on corpus d
        ({"c e": SUPPORTED, "c f": SUPPORTED, "d e": UNDECIDED}, MIXED),
        ({"c e": SUPPORTED, "c f": SUPPORTED, "d e": SUPPORTED, "d f": CONTRADICTED}, MIXED),
        ({"c e": SUPPORTED, "c f": UNDECIDED, "d e": UNTESTABLE}, MIXED),
        ({"c e": CONTRADICTED, "d e": UNDECIDED}, CONTRADICTED),
        ({"c e": CONTRADICTED, "d e": SUPPORTED}, MIXED),
        ({"c e": CONTRADICTED, "d e": UNDECIDED, "c f": UNDECIDED}, MIXED),
        ({"c e": UNTESTABLE, "d e": UNTESTABLE}, UNTESTABLE),
    ],
)
def test_over_all_settings(given: dict[str, str], expected: str) -> None:
    settings = [dict(zip(("corpus", "encoder"), name.split(), strict=True)) for name in given]
    rows = [
        where | {"statement": "x", "variant": "corrected", "verdict": verdict, "exploratory": False}
        for where, verdict in zip(settings, given.values(), strict=True)
    ]
    found = overall([one({})], pd.DataFrame(rows)).iloc[0]
    assert found["verdict"] == expected and found["settings"] == len(given)


# ----------------------------------------------------------------------------------------------- from folders, the verb


def test_a_run_is_decided_as_its_tables_are(run: Path) -> None:
    found = decide([run])
    assert [(each.corpus, each.encoder, each.folds, each.layers) for each in found.settings] == [
        ("made-up", "tiny", 5, 4)
    ]
    verdicts = found.overall.set_index("statement")["verdict"]
    assert (verdicts["a"], verdicts["b"], verdicts["m"]) == (SUPPORTED, CONTRADICTED, SUPPORTED)
    assert list(verdicts.index) == list(EFFECTS) and UNTESTABLE not in set(found.table["verdict"])
    assert found.marks == ["synthetic speech"] and found.table["synthetic"].all()


def test_folds_and_measures_in_several_runs_are_those_in_one(run: Path, tmp_path: Path) -> None:
    some = ("probes", "dial")
    early = write_run(tmp_path / "early", SMALL, folds=[0, 1], clips=(TEST,), stems=some)
    late = write_run(tmp_path / "late", SMALL, folds=[2, 3, 4], clips=(TEST,), stems=some)
    both = write_run(tmp_path / "both", SMALL, clips=("test+validation",))
    statements = [each for each in built_in() if each.name in ("k", "k'", "l", "m")]
    whole, parted = decided(statements, gather([run])), decided(statements, gather([early, late, both]))
    pd.testing.assert_frame_equal(whole, parted)
    assert UNTESTABLE not in set(whole["verdict"])


def test_a_sweep_stands_for_its_experiments(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for fold in (0, 1):
        write_run(sweep / "experiments" / f"fold-{fold}", SMALL, folds=[fold], **LITTLE)
    (sweep / "grid.yaml").write_text("grid: {}\n")
    assert [unit.fold for unit in gather([sweep])[0].units] == ["f0", "f1"]


def test_what_a_run_lacks_is_told_with_the_lines_that_it_takes(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", SMALL, folds=[0], stems=("contribution", "lens"), clips=(TEST,))
    rows = decide([path]).table.query("variant == 'corrected'").drop_duplicates("statement").set_index("statement")
    lacking = rows[rows["verdict"] == UNTESTABLE]
    assert set(lacking.index) - {"a", "b", "c", "d", "e", "f", "m"} == {
        "g",
        "g'",
        "h1",
        "h2",
        "h3",
        "h4",
        "i",
        "j",
        "k",
        "k'",
        "l",
    }
    for name, measure in (("g", "ranks"), ("h1", "spectra"), ("i", "cka"), ("l", "dial"), ("k'", "probes")):
        asked = yaml.safe_load(rows.loc[name, "lines"])["analysis"]
        assert measure in asked["measures"] and {"contribution", "lens"} < {*asked["measures"]}, name


def test_without_a_control_its_statements_are_not_testable(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", SMALL, stems=("lens",), clips=(TEST,))
    manifest = json.loads((path / "manifest.json").read_text())
    kept = [unit for unit in manifest["analyses"] if not unit["control"]]
    edit(path / "manifest.json", analyses=kept)
    (path / "seal.json").unlink()
    rows = decide([path]).table.query("variant == 'corrected'").drop_duplicates("statement").set_index("statement")
    assert rows.loc["e", "verdict"] == UNTESTABLE and rows.loc["f", "verdict"] != UNTESTABLE
    shuffled = yaml.safe_load(rows.loc["e", "lines"])["methods"]["shuffled"]
    assert shuffled == {"kind": "lora", "control": "shuffled_labels", "rank": 32, "alpha": 64, "targets": ["v_proj"]}


def test_clips_of_the_validation_speakers_decide_nothing_but_the_speaker_probe(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", SMALL, folds=[0], clips=("test+validation",))
    rows = decide([path]).table.query("variant == 'corrected'").drop_duplicates("statement").set_index("statement")
    assert rows.loc["k'", "verdict"] == UNTESTABLE
    assert yaml.safe_load(rows.loc["k'", "lines"]) == {"analysis": {"clips_from": "test"}}


def refused(*folders: Path, statements: Path | None = None) -> str:
    with pytest.raises(LorascopeError) as error:
        decide(folders, statements)
    told = str(error.value)
    assert "\n" not in told
    return told


def test_a_unit_twice_is_refused(run: Path, tmp_path: Path) -> None:
    again = write_run(tmp_path / "again", SMALL, folds=[4], **LITTLE)
    told = refused(run, again)
    assert str(again) in told and str(run) in told and "fold f4, seed 0" in told and "once" in told
    assert "once" in refused(run, run)


def test_overlapping_folds_are_refused(tmp_path: Path) -> None:
    early = write_run(tmp_path / "early", SMALL, folds=[0, 1], **LITTLE)
    speakers = ["", "", "speaker-1", "x", "y"]
    late = write_run(tmp_path / "late", SMALL, folds=[2], speakers=speakers, **LITTLE)
    told = refused(early, late)
    assert "f1 and f2 overlap: both test speaker-1" in told
    other = write_run(tmp_path / "other", SMALL, folds=[1], speakers=["", "z"], **LITTLE)
    assert "fold f1 tests other speakers" in refused(early, other)


@pytest.mark.parametrize(
    ("key", "value"),
    [("folds.groups", 8), ("methods.lora.rank", 8), ("precision", "bf16"), ("analysis.draws", 100), ("seeds", [])],
)
def test_runs_that_were_not_made_alike_are_refused(tmp_path: Path, key: str, value: object) -> None:
    early = write_run(tmp_path / "early", SMALL, folds=[0], **LITTLE)
    changed = json.loads(json.dumps(config_of()))
    *path, last = key.split(".")
    section = changed
    for name in path:
        section = section[name]
    section[last] = value
    late = write_run(tmp_path / "late", SMALL, folds=[1], config=changed, **LITTLE)
    told = refused(early, late)
    assert str(late) in told and ("one seed for all folds" if key == "seeds" else key) in told
    assert "two calls" in told


def test_names_seeds_and_measures_may_differ(tmp_path: Path) -> None:
    early = write_run(tmp_path / "early", SMALL, folds=[0], **LITTLE)
    config = config_of("other") | {
        "analysis": {"measures": ["lens"], "folds": ["f3", "f4"], "draws": 500},
        "seeds": [0],
    }
    late = write_run(tmp_path / "late", SMALL, folds=[1], config=config, **LITTLE)
    assert gather([early, late])[0].folds == 2


def test_adapters_of_two_kinds_are_refused(run: Path, tmp_path: Path) -> None:
    world = replace(SMALL, corpus="other")
    other = write_run(tmp_path / "other", world, folds=[0], label="LoRA r=8 v_proj", **LITTLE)
    assert "LoRA r=8 v_proj" in refused(run, other)


@pytest.mark.parametrize("place", ["analyses", "cells"])
def test_an_edited_table_is_refused(tmp_path: Path, place: str) -> None:
    path = write_run(tmp_path / "run", SMALL, folds=[0], **LITTLE)
    file = sorted((path / place).rglob("dial.parquet" if place == "analyses" else "metrics.json"))[0]
    if place == "analyses":
        table = pd.read_parquet(file)
        table.assign(uar=table["uar"] + 0.01).to_parquet(file, index=False)
    else:
        edit(file, uar=0.99)
    told = refused(path)
    assert str(file) in told and "not what was sealed" in told


def test_a_folder_that_is_no_run_or_trained_nothing_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path)
    path = write_run(tmp_path / "run", SMALL, folds=[0], **LITTLE)
    edit(path / "manifest.json", cells=[], stands_on={})
    (path / "seal.json").unlink()
    assert "no adapter was trained" in refused(path)


def verb(*arguments: str) -> int:
    """Exit code of `lorascope claims`."""
    with pytest.raises(SystemExit) as end:
        main(["claims", *arguments])
    return end.value.code or 0


def replace_statements(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Let these be all of the built-in statements."""
    kept = tuple(each for each in built_in() if each.name in names)
    monkeypatch.setattr(claims, "built_in", lambda: kept)
    return [each.name for each in kept]


def test_the_verb_prints_writes_and_gives_json(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verb(str(run), "--out", str(tmp_path / "out")) == 0
    told = capsys.readouterr().out
    assert "a: LoRA's contribution grows with depth: supported (1 supported of 1)" in told and "contradicted" in told
    written = {
        file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*") if file.is_file()
    }
    figures = {f"figures/claims.{suffix}" for suffix in ("svg", "pdf", "png")}
    assert written == {"claims.parquet", "claims.csv", "overall.csv", "claims.json", "index.html", *figures}
    table = pd.read_parquet(tmp_path / "out" / "claims.parquet")
    assert set(table["statement"]) == set(EFFECTS)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Stated:" in page and "since it is on the stated side" in page and "synthetic speech" in page
    few = replace_statements(monkeypatch, "l", "m")
    assert verb(str(run), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["statement"] for row in found["overall"]] == few and found["overall"][1]["verdict"] == "supported"
    assert len(found["claims"]) == 3 and found["settings"][0]["folds"] == 5


def test_bad_input_ends_the_verb_with_a_line_and_code_2(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb(str(run), str(run)) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1


def test_the_function_is_public(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace_statements(monkeypatch, "m")
    assert list(lorascope.claims(run).overall["statement"]) == few


def test_statements_have_dates_families_and_names_as_they_were_fixed() -> None:
    families = {}
    for statement in built_in():
        families.setdefault(statement.family, []).append(statement.name)
        assert statement.dated == FIXED
    expected = [["a", "b", "c", "d"], ["e", "f"], ["g", "g'"], ["h1", "h2", "h3", "h4"], ["i", "j"], ["k", "k'"]]
    assert list(families.values()) == [*expected, ["l"], ["m"]]


def test_results_that_are_older_make_a_statement_exploratory() -> None:
    statement = one({})
    assert statement.is_exploratory("2026-11-25T10:00:00+00:00")
    # the same day may be either
    assert statement.is_exploratory("2026-11-26T23:00:00+00:00") and statement.is_exploratory("")
    assert not statement.is_exploratory("2026-11-27T00:00:00+00:00")
    assert replace(statement, dated=None).is_exploratory("2026-11-27T00:00:00+00:00")
