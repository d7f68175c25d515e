"""An experiment's YAML: defaults, overrides, and errors that name the file, the key and the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import lorascope
from lorascope.errors import LorascopeError
from lorascope.experiment.config import AnalysisConfig, Experiment
from lorascope.experiment.grid import load_sweep
from lorascope.experiment.loading import analysis_from, dump_experiment, experiment_from, load_experiment
from lorascope.experiment.measuring import GROUPS
from lorascope.experiment.methods import FrozenConfig, LoraConfig

from ..corpora.refusals import refused

LEAST = "name: small\ncorpus: {reader: emodb}\nbackbone: {name: whisper-tiny.en}\n"
CONFIGS = Path(__file__).parents[2] / "configs"
MEASURES = Path(lorascope.__file__).parent / "analysis" / "measures"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(LEAST)
    return path


def lora_of(experiment: Experiment) -> LoraConfig:
    lora = experiment.conditions["lora"]
    assert isinstance(lora, LoraConfig)
    return lora


def of(file: Path, text: str) -> Experiment:
    file.write_text(text, encoding="utf-8")
    return load_experiment(file)


# defaults


def test_defaults_are_the_papers_and_the_issues(file: Path) -> None:
    experiment = load_experiment(file)
    lora = experiment.conditions["lora"]
    assert isinstance(lora, LoraConfig)
    # METHODS.md section 1: the released hyper-parameters
    assert (lora.rank, lora.alpha, lora.dropout, lora.targets) == (32, 64, 0.1, ("v_proj",))
    assert (lora.learning_rate, lora.epochs, lora.batch_size) == ((5e-5,), 20, 8)
    assert (
        experiment.conditions["frozen"] == FrozenConfig()
        and experiment.head.projection == 256
        and experiment.seed == 42
    )
    assert experiment.corpus.classes == ("anger", "happiness", "neutrality", "sadness")
    assert experiment.backbone.context == "trim"
    assert (experiment.folds.protocol, experiment.folds.selection) == ("leave_one_speaker_out", "validation_speaker")
    assert experiment.analysis is not None and experiment.analysis.clips_per_class == 25


def test_a_config_is_frozen(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_experiment(file).seed = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("folds", "told"),
    [
        ("{protocol: speaker_groups}", "groups and protocol: speaker_groups go together"),
        ("{groups: 5}", "groups and protocol: speaker_groups go together"),
        ("{protocol: speaker_groups, groups: 1}", "folds.groups"),
        ("{test_splits: [test1]}", "test_splits is of protocol: official_split"),
        ("{protocol: leave_two_out}", "folds.protocol"),
    ],
)
def test_options_of_another_protocol_are_refused(file: Path, folds: str, told: str) -> None:
    refused(lambda: of(file, LEAST + f"folds: {folds}\n"), str(file), "folds", told)


def test_the_options_of_a_protocol_come_back_from_a_resolved_file(file: Path) -> None:
    for folds in ("{protocol: speaker_groups, groups: 5}", "{protocol: official_split, test_splits: [test1]}"):
        experiment = of(file, LEAST + f"folds: {folds}\n")
        assert of(file, dump_experiment(experiment)) == experiment


def test_null_takes_a_method_or_the_analysis_out(file: Path) -> None:
    experiment = of(file, LEAST + "methods: {frozen: null}\nanalysis: null\n")
    assert list(experiment.conditions) == ["lora"] and experiment.analysis is None


def test_one_learning_rate_or_several(file: Path) -> None:
    text = LEAST + "methods:\n  frozen: {learning_rate: 1e-3}\n  lora: {learning_rate: [1.0e-4, 5e-4]}\n"
    methods = of(file, text).conditions
    assert methods["frozen"].learning_rate == (1e-3,) and methods["lora"].learning_rate == (1e-4, 5e-4)


def test_targets_come_in_the_order_of_the_projections(file: Path) -> None:
    one = of(file, LEAST + "methods: {lora: {targets: [v_proj, q_proj]}}\n")
    assert one == of(file, LEAST + "methods: {lora: {targets: [q_proj, v_proj, v_proj]}}\n")
    assert lora_of(one).targets == ("q_proj", "v_proj")


def test_folds_are_named_by_words_or_numbers(file: Path) -> None:
    experiment = of(file, LEAST + "folds: {only: [11, '03']}\nanalysis: {fold: 11}\n")
    assert (
        experiment.folds.only == ("11", "03") and experiment.analysis is not None and experiment.analysis.fold == "11"
    )


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configurations_of_the_project_are_valid(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORASCOPE_CORPORA", "somewhere")
    monkeypatch.setenv("IEMOCAP", "somewhere")
    if "grid" in yaml.safe_load(config.read_text()):
        load_sweep(config)
    else:
        load_experiment(config)


# overrides


def test_overrides_reach_every_depth(file: Path) -> None:
    experiment = load_experiment(
        file,
        [
            "seed=7",
            "methods.lora.rank=8",
            "methods.lora.targets=[q_proj, v_proj]",
            "methods.frozen=null",
            "analysis.fold='03'",
            "name=other",
        ],
    )  # fmt: skip
    assert experiment.seed == 7 and experiment.name == "other" and list(experiment.conditions) == ["lora"]
    lora = lora_of(experiment)
    assert (lora.rank, lora.alpha, lora.targets) == (8, 64, ("q_proj", "v_proj"))
    assert experiment.analysis is not None and experiment.analysis.fold == "03"


def test_the_last_override_wins_and_the_file_stays(file: Path) -> None:
    assert load_experiment(file, ["seed=1", "seed=2"]).seed == 2
    assert load_experiment(file).seed == 42


def test_a_value_may_hold_an_equals_sign_or_be_nothing(file: Path) -> None:
    assert load_experiment(file, ["corpus.options.hub_id=a=b"]).corpus.options == {"hub_id": "a=b"}
    assert "frozen" not in load_experiment(file, ["methods.frozen="]).conditions


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed", ("--set seed", "key.path=value")),
        ("=3", ("--set =3", "key.path=value")),
        ("seed=[1", ("--set seed=[1", "not YAML")),
        ("name.first=x", ("--set name.first=x", "name is a value, not a section")),
        ("methods.lora.rnak=8", ("methods.lora.rnak", "did you mean rank?")),
        ("methods..rank=8", ("methods.", "pattern", "''")),
        ("seed=many", ("seed", "integer", "'many'")),
        ("methods.lora.targets=v_proj", ("methods.lora.targets", "'v_proj'")),
    ],
)
def test_a_wrong_override_is_refused(file: Path, override: str, told: tuple[str, ...]) -> None:
    refused(lambda: load_experiment(file, [override]), *told)


def test_the_analysis_alone_from_overrides() -> None:
    assert analysis_from([]) == AnalysisConfig()
    assert analysis_from(["measures=[lens]", "draws=100"]) == AnalysisConfig(measures=("lens",), draws=100)
    refused(lambda: analysis_from(["draw=100"]), "--set", "draw", "did you mean draws?")
    refused(lambda: analysis_from(["draws=10"]), "--set", "draws", "50")


# keys and values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sed: 1\n", ("sed: unknown key", "did you mean seed?")),
        ("zzz: 1\n", ("zzz: unknown key", "known keys: name, corpus, test_corpus, backbone")),
        ("folds: {selektion: test_fold}\n", ("folds.selektion", "did you mean selection?")),
        ("methods: {lora: {alhpa: 1}}\n", ("methods.lora.alhpa", "did you mean alpha?")),
        ("methods: {frozen: {rank: 8}}\n", ("methods.frozen.rank: unknown key", "known keys: control, learning_rate")),
        ("analysis: {mesures: [lens]}\n", ("analysis.mesures", "did you mean measures?")),
        ("methods: {lora: {rank: 0}}\n", ("methods.lora.rank", "greater than or equal to 1", "0")),
        ("methods: {lora: {rank: true}}\n", ("methods.lora.rank", "True")),
        ("methods: {lora: {dropout: 1}}\n", ("methods.lora.dropout", "less than 1")),
        ("methods: {lora: {alpha: .inf}}\n", ("methods.lora.alpha", "finite")),
        ("methods: {lora: {alpha: .nan}}\n", ("methods.lora.alpha",)),
        ("methods: {frozen: {weight_decay: .inf}}\n", ("methods.frozen.weight_decay", "finite")),
        ("methods: {lora: {targets: [v_porj]}}\n", ("methods.lora.targets.0", "'v_proj'", "'v_porj'")),
        ("methods: {lora: {targets: []}}\n", ("methods.lora.targets", "at least one projection")),
        ("methods: {lora: {learning_rate: []}}\n", ("methods.lora.learning_rate", "at least one learning rate")),
        ("methods: {lora: {learning_rate: [1e-4, -1]}}\n", ("methods.lora.learning_rate.1", "greater than 0")),
        ("methods: {lora: null, frozen: null}\n", ("methods", "keep at least one")),
        ("methods: null\n", ("methods",)),
        ("methods: {lora: 3}\n", ("methods.lora", "3")),
        ("methods: {big: {rank: 8}}\n", ("methods.big.kind: unknown kind 'big'", "give one of: frozen, classic, lora")),
        ("methods: {big: {kind: dorra}}\n", ("methods.big.kind: unknown kind 'dorra'", "did you mean dora?")),
        ("methods: {big: {kind: rslora, rnak: 8}}\n", ("methods.big.rnak: unknown key", "did you mean rank?")),
        (
            "methods: {big: {kind: ia3, rank: 8}}\n",
            ("methods.big.rank: unknown key", "known keys: control, learning_rate"),
        ),
        ("methods: {lora: {layers: [0, -1]}}\n", ("methods.lora.layers.1", "-1")),
        ("methods: {lora: {layers: []}}\n", ("methods.lora.layers", "at least one layer")),
        ("methods: {again: {kind: lora}}\n", ("methods", "lora and again are the same method")),
        ("methods: {'a/b': {kind: lora, rank: 8}}\n", ("methods.a/b", "pattern")),
        ("analysis: {method: dora}\n", ("analysis.method: no method 'dora'", "there are frozen, lora")),
        ("analysis: {method: frozen}\n", ("analysis.method: frozen", "changes nothing")),
        ("methods: {lora: null, dora: {}}\nanalysis: {ranks: [8]}\n", ("analysis.ranks: dora", "no rank space")),
        ("folds: {selection: best}\n", ("folds.selection", "'test_fold' or 'inner_folds'", "'best'")),
        ("folds: {only: '03'}\n", ("folds.only", "'03'")),
        ("analysis: {measures: [lens, lens]}\n", ("analysis.measures", "once")),
        ("analysis: {measures: []}\n", ("analysis.measures", "at least 1")),
        ("seed: -1\n", ("seed", "greater than or equal to 0", "-1")),
        ("folds: {seed: 4294967296}\n", ("folds.seed", "4294967296")),
        ("analysis: {measures: [cka, lenz]}\n", ("analysis.measures.1", "did you mean lens?", "'lenz'")),
        ("analysis: {ranks: [8, 0]}\n", ("analysis.ranks.1", "0")),
        ("precision: fp8\n", ("precision", "'fp32'", "'fp8'")),
        ("name: a/b\n", ("name", "'a/b'")),
        ("corpus: {reader: emodb, classes: [anger]}\n", ("corpus.classes", "two different classes")),
        ("corpus: {reader: emodb, classes: [anger, anger]}\n", ("corpus.classes", "two different classes")),
        ("corpus: {reader: emodb, classes: [anger, no]}\n", ("corpus.classes.1", "False")),
        ("corpus: {reader: emodb, label_map: {1: anger}}\n", ("corpus.label_map.1",)),
        ("corpus: {reader: emodb, exclude: 03a01Wa}\n", ("corpus.exclude", "'03a01Wa'")),
        ("corpus: emodb\n", ("corpus", "'emodb'")),
        ("corpus: {root: x}\n", ("corpus.reader: this key is missing", "add it")),
        ("backbone: {context: full}\n", ("backbone.name: this key is missing",)),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_names_file_and_key(file: Path, text: str, told: tuple[str, ...]) -> None:
    replaced = text.partition(":")[0]
    kept = [line for line in LEAST.splitlines() if not line.startswith(f"{replaced}:")]
    refused(lambda: of(file, "\n".join([*kept, text])), f"{file}: ", *told)


@pytest.mark.parametrize("key", ["name", "corpus", "backbone"])
def test_a_missing_key_is_named(file: Path, key: str) -> None:
    text = "\n".join(line for line in LEAST.splitlines() if not line.startswith(key))
    refused(lambda: of(file, text), f"{file}: {key}: this key is missing", "add it")


def test_a_key_given_twice_is_refused(file: Path) -> None:
    refused(lambda: of(file, LEAST + "seed: 1\nfolds: {seed: 3}\nseed: 2\n"), str(file), "'seed'", "twice", "line 6")


# files


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n", "3\n"])
def test_what_is_no_mapping_is_refused(file: Path, text: str) -> None:
    refused(lambda: of(file, text), str(file), "keys and values", "name: ")


@pytest.mark.parametrize(
    "text", ["name: [a\n", "name: a: b\n", "\tname: a\n", "name: *a\n", "name: !!python/object:os.system x\n"]
)
def test_what_is_no_yaml_is_refused(file: Path, text: str) -> None:
    refused(lambda: of(file, text), str(file), "not YAML")


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"name: \xff\xfe\n")
    refused(lambda: load_experiment(file), str(file), "not YAML")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(
        lambda: load_experiment(tmp_path / "gone.yaml"), str(tmp_path / "gone.yaml"), "No such file", "give the path"
    )
    refused(lambda: load_experiment(tmp_path), str(tmp_path), "give the path")


# the corpus' root


def test_roots_may_use_environment_variables_and_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPORA", "/data/speech")
    monkeypatch.setenv("HOME", "/home/me")

    def root(text: str) -> str | None:
        data = yaml.safe_load(LEAST)
        data["corpus"]["root"] = text
        return experiment_from(data).corpus.root

    assert root("$CORPORA/emodb") == root("${CORPORA}/emodb") == "/data/speech/emodb"
    assert root("~/emodb") == "/home/me/emodb" and root("here/emodb") == "here/emodb"


@pytest.mark.parametrize("root", ["$NOT_SET_ANYWHERE/emodb", "${NOT_SET_ANYWHERE}"])
def test_an_environment_variable_that_is_not_set_is_refused(file: Path, root: str) -> None:
    refused(
        lambda: of(file, LEAST.replace("emodb}", f"emodb, root: '{root}'}}")), f"{file}: corpus.root", root, "not set"
    )


@pytest.mark.parametrize("root", ["", "$EMPTY_VARIABLE", "~nobody-of-that-name/emodb"])
def test_a_root_that_is_nowhere_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    monkeypatch.setenv("EMPTY_VARIABLE", "")
    refused(lambda: of(file, LEAST.replace("emodb}", f"emodb, root: '{root}'}}")), f"{file}: corpus.root", repr(root))


# there and back


def test_what_is_dumped_is_loaded_again(file: Path, tmp_path: Path) -> None:
    text = LEAST.replace(
        "emodb}", "csv, root: /data/é, label_map: {L: null, Wut: anger}, exclude: [a1], options: {x: [1, 2]}}"
    )
    experiment = of(
        file,
        text
        + (
            "methods: {frozen: null, lora: {learning_rate: [5e-5, 0.0001], rank: 8}}\nanalysis: "
            "{ranks: [8, 64], fold: 03}\n"
        ),
    )
    dumped = dump_experiment(experiment)
    (tmp_path / "again.yaml").write_text(dumped, encoding="utf-8")
    assert load_experiment(tmp_path / "again.yaml") == experiment
    assert dump_experiment(load_experiment(tmp_path / "again.yaml")) == dumped


def test_every_default_is_written_out(file: Path) -> None:
    data = yaml.safe_load(dump_experiment(load_experiment(file)))
    assert data["methods"]["lora"]["rank"] == 32 and data["folds"]["selection"] == "validation_speaker"
    assert list(data) == list(Experiment.model_fields) and list(data["analysis"]) == list(AnalysisConfig.model_fields)


def test_groups_of_measures_stand_for_their_own() -> None:
    def of(measures: object) -> tuple[str, ...]:
        return analysis_from([f"measures={json.dumps(measures)}"]).measures

    assert of("paper") == ("contribution", "lens", "ranks", "spectra", "cka")
    # what a group adds is added once; what is named twice is refused
    assert of(["lens", "paper"]) == ("lens", "contribution", "ranks", "spectra", "cka")
    # the frontier costs many decodings: it must be named
    every = {file.stem for file in MEASURES.glob("*.py")} - {"__init__", "frontier"}
    assert set(of("all")) == every
    assert set(of(["paper", "causal", "hearing", "probes", "frame_lens", "heads", "weights"])) == every
    # no group has the name of a measure, or that one could not be named alone
    assert of("probes") == ("probes",) and not every & {*GROUPS, "all"}
    with pytest.raises(LorascopeError, match="name each once"):
        of(["lens", "lens"])
    with pytest.raises(LorascopeError, match="did you mean causal"):
        of(["casual"])
