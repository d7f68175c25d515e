"""A user's statements: a YAML file and expressions, which reach nothing but columns."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lorascope.errors import LorascopeError
from lorascope.findings.claims import decide_settings
from lorascope.findings.claims.expressions import evaluated, parsed
from lorascope.findings.claims.setting import SHUFFLED, TEST, TRAINED, Setting, Unit
from lorascope.findings.claims.stated import read_statements

LENS = {
    "name": "entropy",
    "sentence": "Entropy falls at the top",
    "table": "lens",
    "filter": "model == 'trained' and variant == 'corrected'",
    "statistic": "mean(kl[layer < layers - top]) - mean(kl[layer >= layers - top])",
    "direction": ">",
}
NAMES = {"x": np.arange(5.0), "word": np.array(["a", "b", "a", "c", "b"], dtype=object), "layers": 4.0}


def written(folder: Path, *statements: dict, **top) -> Path:
    file = folder / "claims.yaml"
    file.write_text(yaml.safe_dump({"statements": list(statements), **top}))
    return file


def number(text: str):
    return evaluated(parsed(text, "here"), NAMES, "here")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean(x[x > 1]) - max(x[word == 'a'])", 1.0),
        ("sum(x[word in ['a', 'c'] and not x == 0])", 5.0),
        ("slope(2 * x + 1, x)", 2.0),
        ("-x[0] + x[-1] ** 2 / 4", 4.0),
        ("count(x[1 <= x < layers])", 3.0),
        ("log2(8) + sqrt(abs(-4))", 5.0),
        ("sd(x) - 2.5 ** .5", 0.0),
        ("median(x[(x > 3) | (word != 'a')])", 3.0),
    ],
)
def test_expressions(text: str, expected: float) -> None:
    assert number(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "x.__class__",
        "(lambda: 1)()",
        "[y for y in x]",
        "mean(x, axis=0)",
        "open('a')",
        "x if 1 else 2",
        "f'{x}'",
        "x @ x",
        "x is None",
        "x[0:2]",
        "(y := 1)",
        "mean(*x)",
        "b'1'",
        "1; 2",
        "x + " * 400 + "1",
        "unknown + 1",
        "word + 1",
        "x[99]",
        "2.0 ** 99999",
    ],
)
def test_nothing_else_of_python_is_reached_and_what_is_wrong_is_told(text: str) -> None:
    with pytest.raises(LorascopeError, match=r"^here: "):
        number(text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"direction": "up"}, "direction"),
        ({"statistic": ""}, "statistic is missing"),
        ({"colour": 1}, "no key colour"),
        ({"statistic": "exec('1')"}, "no function"),
        ({"filter": "model = 1"}, "no expression"),
        ({"date": "soon"}, "date"),
        ({"name": "a"}, "another statement is called so"),
    ],
)
def test_a_wrong_file_is_refused_in_a_line(tmp_path: Path, change: dict, told: str) -> None:
    with pytest.raises(LorascopeError) as error:
        read_statements(written(tmp_path, LENS | change), ["a"])
    assert told in str(error.value) and "claims.yaml: statement 1" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LorascopeError, match="No such file"):
        read_statements(tmp_path / "none.yaml")
    (tmp_path / "claims.yaml").write_text("- a\n")
    with pytest.raises(LorascopeError, match="expected `statements:`"):
        read_statements(tmp_path / "claims.yaml")
    (tmp_path / "claims.yaml").write_text("a: [\n")
    with pytest.raises(LorascopeError, match="not YAML"):
        read_statements(tmp_path / "claims.yaml")


def a_setting(drop: str = "", folds: int = 6) -> tuple[Setting, list[float]]:
    """Adapters whose divergence falls by a known number at the top block, of the control by 1 less."""
    rng, units, falls = np.random.default_rng(0), [], []
    for fold in range(folds):
        fall = 3 + float(rng.normal()) / 10
        falls.append(fall)
        tables = {}
        for adapter, less in ((TRAINED, 0.0), (SHUFFLED, 1.0)):
            rows = [
                (model, layer, variant, rng.uniform() if model == "frozen" else (layer < 3) * (fall - less))
                for model in ("trained", "frozen")
                for layer in range(4)
                for variant in ("corrected", "paper")
            ]
            tables[adapter, TEST, "lens"] = pd.DataFrame(rows, columns=["model", "layer", "variant", "kl"])
        if drop:
            tables.pop((drop, TEST, "lens"))
        units.append(Unit(f"f{fold}", 0, lambda *key, tables=tables: tables.get(key)))
    created = "2026-12-01T00:00:00+00:00"
    return Setting("c", "e", "LoRA", 4, (), units, 1 / (folds - 1), created=created), falls


def test_own_statements_get_the_same_treatment(tmp_path: Path) -> None:
    control = LENS | {"name": "control", "control": "shuffled"}
    other = LENS | {"name": "other", "direction": "<", "family": "apart", "date": datetime.date(2026, 11, 1)}
    statements = read_statements(written(tmp_path, LENS, control, other, date=datetime.date(2026, 12, 1)))
    made, falls = a_setting()
    rows = decide_settings(statements, [made]).table.set_index(["statement", "control"])
    assert rows.loc[("entropy", "none"), "value"] == pytest.approx(np.mean(falls))
    assert rows.loc[("control", "shuffled"), "value"] == pytest.approx(1.0)
    verdicts = rows["verdict"].groupby("statement").first()
    assert dict(verdicts) == {"entropy": "supported", "control": "supported", "other": "contradicted"}
    assert dict(rows["exploratory"].groupby("statement").first()) == {"entropy": True, "control": True, "other": False}
    # two statements in one family, one in another
    assert rows.loc[("other", "none"), "p_adjusted"] == rows.loc[("other", "none"), "p"]
    assert rows.loc[("entropy", "none"), "p_adjusted"] > rows.loc[("entropy", "none"), "p"]


def test_another_model_may_be_the_control(tmp_path: Path) -> None:
    statements = read_statements(written(tmp_path, LENS | {"control": "frozen"}))
    made, falls = a_setting()
    table = made.units[0].read(TRAINED, TEST, "lens").query("model == 'frozen' and variant == 'corrected'")
    frozen = table.query("layer < 3")["kl"].mean() - table.query("layer == 3")["kl"].mean()
    assert statements[0].parts[1].statistic(made, made.units[0], "corrected") == pytest.approx(falls[0] - frozen)
    wrong = read_statements(written(tmp_path, LENS | {"control": "random"}))
    with pytest.raises(LorascopeError, match="give `shuffled` or one of frozen"):
        decide_settings(wrong, [made])


def test_what_is_lacking_is_told_and_no_error(tmp_path: Path) -> None:
    statements = read_statements(written(tmp_path, LENS | {"control": "shuffled"}))
    row = decide_settings(statements, [a_setting(drop=SHUFFLED)[0]]).table.iloc[0]
    assert row["verdict"] == "not testable here" and "control: shuffled_labels" in row["lines"]
    row = decide_settings(statements, [a_setting(drop=TRAINED)[0]]).table.iloc[0]
    assert row["verdict"] == "not testable here" and "measures: [lens]" in row["lines"]
    nothing = read_statements(written(tmp_path, LENS | {"filter": "model == 'other'"}))
    assert "leaves no row" in decide_settings(nothing, [a_setting()[0]]).table["reason"].iloc[0]


@pytest.mark.parametrize(("key", "text"), [("statistic", "kl"), ("filter", "layer + 1"), ("statistic", "gone[0]")])
def test_an_expression_that_does_not_fit_the_table_is_refused(tmp_path: Path, key: str, text: str) -> None:
    statements = read_statements(written(tmp_path, LENS | {key: text}))
    with pytest.raises(LorascopeError, match=f"statement 1 \\(entropy\\): {key}"):
        decide_settings(statements, [a_setting()[0]])
