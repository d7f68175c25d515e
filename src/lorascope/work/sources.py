"""What is analysed and trained on, opened once: a corpus' clips, a backbone, and adapters that were made anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..analysis.means import Means
from ..corpora import DEFAULT_CLASSES, EMOTION, READERS, Corpus, load_corpus
from ..corpora.folds.folds import sample_from
from ..corpora.labels import SYNONYMS, match_classes, taken_classes
from ..errors import LorascopeError
from ..experiment.config import AnalysisConfig, CorpusConfig, Experiment
from ..experiment.planning import Cell
from ..machine import processes
from ..machine.devices import device
from ..machine.requirements import require_extra
from ..models.adapters.building import check_fits
from ..models.adapters.folder import read_record
from ..models.adapters.opening import Source, answers, read_source
from ..models.weights.backbone import Backbone, load_backbone, with_new_head
from ..models.weights.decoders import read_decoder
from ..models.weights.hub import adapter_folder
from ..sound.acoustics import acoustics
from ..sound.changed import ChangedClips
from ..sound.context import no_window
from ..sound.decoding import Clip, load_hashed, prepare_clips
from ..sound.functionals import check_opensmile
from ..sound.resynthesis import check_parselmouth
from ..training.inputs import Inputs

Say = Callable[[str], None]
#: The measures that let a decoder write down what an encoder heard.
DECODED = frozenset({"recognition", "frontier"})


def open_inputs(
    experiment: Experiment, corpus: Corpus, cells: Sequence[Cell], say: Say = lambda _: None
) -> tuple[Inputs, Backbone]:
    """What an experiment's cells share, and its backbone; every clip is read. Raises `LorascopeError` for what cannot
    be run here.
    """

    def load() -> Backbone:
        return load_backbone(experiment.backbone.name, corpus.classes, experiment.seed, experiment.head.projection)

    backbone = processes.first_before_others(load)
    say(f"backbone {backbone.name} from the {backbone.origin}: {backbone.layers} layers, width {backbone.width}")
    if not backbone.model.has_window and experiment.backbone.context == "full":
        raise LorascopeError(no_window(backbone.name, "backbone.context"))
    _check_precision(experiment.precision)
    if any(cell.kind == "classic" for cell in cells):
        check_opensmile()
    if experiment.analysis is not None:
        check_packages(experiment.analysis.measures)
    for method in experiment.conditions.values():
        check_fits(method, backbone.model)
    clips = processes.first_before_others(lambda: prepare(corpus, backbone, say))

    inputs = Inputs(
        clips=clips,
        labels={str(clip): corpus.classes.index(emotion) for clip, emotion in corpus.clips["emotion"].items()},
        speakers={str(clip): speaker for clip, speaker in corpus.clips["speaker"].items()},
        load=load,
        device=device(),
        samples=samples_of(corpus, clips),
    )
    return inputs, backbone


def prepare(corpus: Corpus, backbone: Backbone, say: Say = lambda _: None) -> dict[str, Clip]:
    """Features of all clips of a corpus; every clip is read and checked. Raises `LorascopeError` on the first that is
    bad.
    """
    table = corpus.clips
    say(f"corpus {corpus.name}: {len(table)} clips of {table['speaker'].nunique()} speakers")
    return prepare_clips(_pieces(corpus), backbone.features)


def samples_of(corpus: Corpus, clips: Mapping[str, Clip]) -> Callable[[str], np.ndarray]:
    """What gives the 16 kHz mono samples of a clip of a corpus, of the bytes that were hashed."""
    pieces = {name: (path, start, end) for name, path, start, end in _pieces(corpus)}

    def samples(clip: str) -> np.ndarray:
        path, start, end = pieces[clip]
        return load_hashed(path, clips[clip].hash, start, end)

    return samples


def with_acoustics(
    sample: pd.DataFrame,
    config: AnalysisConfig,
    clips: Mapping[str, Clip],
    samples: Callable[[str], np.ndarray] | None,
) -> pd.DataFrame:
    """The clips to analyse, with what they sound like where the probes ask for it and openSMILE is installed."""
    if "probes" not in config.measures or samples is None:
        return sample
    names = [str(clip) for clip in sample["clip"]]
    found = acoustics(names, {name: clips[name].hash for name in names}, samples)
    return sample if found is None else sample.assign(**{str(name): found[name].to_numpy() for name in found})


def means_of(
    config: AnalysisConfig,
    clips: Mapping[str, Clip],
    samples: Callable[[str], np.ndarray] | None,
    backbone: Backbone,
) -> Means:
    """What the measures of an analysis need beside models and features. Raises `LorascopeError` where a package that
    they need is not installed.
    """
    check_packages(config.measures)
    sounds, decoder, lacking = None, None, {}
    if "counterfactual" in config.measures and samples is not None:
        sounds = ChangedClips({name: clip.hash for name, clip in clips.items()}, samples, backbone.features)
    if DECODED & set(config.measures):
        try:
            decoder = read_decoder(backbone)
        except LorascopeError as error:
            lacking["decoder"] = str(error)
    return Means(sounds, decoder, lacking)


def check_packages(measures: Sequence[str]) -> None:
    """Raise `LorascopeError`, naming the extra, where a measure's package is not installed."""
    if "counterfactual" in measures:
        check_parselmouth()
    for name in sorted(DECODED & set(measures)):
        require_extra("jiwer", "jiwer", "recognition", f"analysis.measures: {name}")


def _pieces(corpus: Corpus) -> list[tuple[str, str, float | None, float | None]]:
    """(id, path, start, end) of every clip, start and end in seconds where it is a piece of its file."""
    return [
        (str(clip), row["path"], _seconds(row.get("start")), _seconds(row.get("end")))
        for clip, row in corpus.clips.iterrows()
    ]


def _seconds(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _check_precision(precision: str) -> None:
    if precision == "fp16" and device() == "cpu":
        raise LorascopeError("precision: fp16 needs a GPU; use fp32 or bf16")


def read_clip_ids(file: Path) -> list[str]:
    """Clip ids from a text file, one a line; empty lines are passed over. Raises `LorascopeError` where it cannot be
    read, is empty or repeats one.
    """
    try:
        ids = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise LorascopeError(
            f"--clip-ids {file}: cannot be read ({error}); give a text file with one clip id a line"
        ) from error
    if not ids:
        raise LorascopeError(f"--clip-ids {file}: no clip ids in it; give one a line")
    for number, name in enumerate(ids, 1):
        if name in ids[: number - 1]:
            raise LorascopeError(f"--clip-ids {file} line {number}: {name} is named twice; keep one")
    return ids


@dataclass(frozen=True)
class Opened:
    """A backbone with a head of the adapter's size, what the adapter's folder holds, and the classes in the order of
    its logits, in our own names.
    """

    base: Backbone
    source: Source
    classes: tuple[str, ...]


def open_backbone(name: str, adapter: str | Path, labels: Sequence[str] | None, task: str = EMOTION) -> Opened:
    """Read an adapter's folder and load the backbone for it. Raises `LorascopeError` where either cannot be read or the
    class names don't fit.
    """
    source = read_source(adapter_folder(adapter))
    head = source.head
    base = load_backbone(name)
    if not answers(base, source):
        return Opened(base, source, taken_classes(labels) if labels else DEFAULT_CLASSES if task == EMOTION else ())
    names = labels or source.classes or base.labels
    if not names:
        raise LorascopeError(
            f"backbone {name}: it names no classes, and adapter {adapter} records none; name them with --labels in the "
            "order of the logits"
        )
    count = len(head["classifier.weight"]) if "classifier.weight" in head else base.model.config.num_labels
    if count == 1 or base.model.config.problem_type == "regression":
        raise LorascopeError(
            f"adapter {adapter}: its head is a regression head ({count} values, no classes), and only answers in "
            "classes can be measured; give an adapter with a classifier, or one without a head"
        )
    if len(names) != count and not labels and not source.classes:
        raise LorascopeError(
            f"adapter {adapter}: its classifier has {count} classes, the backbone {name} has {len(names)}; give the "
            "backbone that it was trained on, "
            "or name the classes with --labels in the order of the logits"
        )
    if len(names) != count:
        raise LorascopeError(
            f"--labels names {len(names)} classes, but there are {count}; name them in the order of the logits"
        )
    if "classifier.weight" in head and (not base.has_head or count != base.model.config.num_labels):
        # a projector of the adapter's own replaces the backbone's; without, the backbone's stays
        base = with_new_head(base, names, head["classifier.weight"].shape[1])
    # of another task than emotion names have no synonyms
    return Opened(base, source, taken_classes(names) if labels or task != EMOTION else match_classes(names))


def task_of(corpus: str | CorpusConfig) -> str:
    """What the classes of a corpus, by its reader's name or whole section, are of."""
    return EMOTION if isinstance(corpus, str) else corpus.task


def corpus_section(corpus: str | CorpusConfig, root: str | Path | None, classes: Sequence[str]) -> CorpusConfig:
    """The corpus that an adapter is analysed on, with the adapter's classes. Instead of a reader's name there may be a
    path: a manifest, its folder, or an audiofolder. Classes that are no emotions are the corpus' own labels, as they
    are written there.
    """
    section = CorpusConfig(reader=corpus) if isinstance(corpus, str) else corpus
    path = Path(section.reader).expanduser()
    if section.reader not in READERS and path.exists():
        manifest = path.is_file() or any((path / f"manifest.{end}").is_file() for end in ("csv", "tsv", "parquet"))
        section, root = section.model_copy(update={"reader": "csv" if manifest else "audiofolder"}), path
    if section.task != EMOTION:
        return section.model_copy(update={"classes": tuple(classes)} | ({} if root is None else {"root": str(root)}))
    own = {name: name for name in classes if name not in SYNONYMS and name not in (section.label_map or {}).values()}
    changes: dict[str, Any] = {"classes": tuple(classes), "label_map": {**own, **(section.label_map or {})} or None}
    return section.model_copy(update=changes | ({} if root is None else {"root": str(root)}))


def load_section(section: CorpusConfig) -> Corpus:
    """The corpus of a section, where nothing is trained. Raises `LorascopeError` as `load_corpus` does."""
    return load_corpus(
        section.reader,
        root=section.root,
        classes=section.classes,
        label_map=section.label_map,
        exclude=section.exclude,
        task=section.task,
        speakers_needed=False,
        **section.options,
    )


def of_speakers(clips: Corpus, speakers: Sequence[str], what: str) -> Corpus:
    """The clips of some speakers. Raises `LorascopeError`, which begins with `what`, for one that isn't there."""
    there = set(clips.clips["speaker"])
    for speaker in speakers:
        if speaker not in there:
            raise LorascopeError(f"{what}: no speaker {speaker!r} among {', '.join(sorted(there))}; mend the name")
    return replace(clips, clips=clips.clips[clips.clips["speaker"].isin(list(speakers))])


def default_context(opened: Opened, backbone: str) -> str:
    """What the adapter's folder or the backbone's records, else Whisper's full window, or `trim` where the encoder has
    none.
    """
    record = opened.source.record or (read_record(Path(backbone)) if Path(backbone).is_dir() else None)
    return record.context if record else "full" if opened.base.model.has_window else "trim"


def in_order(
    head: dict[str, torch.Tensor], folder: Path, classes: tuple[str, ...], base: Backbone
) -> dict[str, torch.Tensor]:
    """The frozen head with its classes in the adapter's order, where its folder names them."""
    record = read_record(folder)
    names: Sequence[str] = record.classes if record else ()
    config = folder / "config.json"
    if not names and config.is_file():
        labels = json.loads(config.read_text(encoding="utf-8")).get("id2label", {})
        names = [labels[key] for key in sorted(labels, key=int)]
    if not names:
        return head
    theirs = tuple(names) if set(names) == set(classes) else match_classes(names)
    if set(theirs) != set(classes):
        raise LorascopeError(
            f"frozen {folder}: its classes are {', '.join(theirs)}, the adapter's are {', '.join(classes)}; give the "
            "baseline of the same classes"
        )
    order = [theirs.index(name) for name in classes]
    return {name: tensor[order] if name.startswith("classifier") else tensor for name, tensor in head.items()}


def choose(corpus: Corpus, clip_ids: Sequence[str] | None, config: AnalysisConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clips to analyse, `clip_ids` or a seeded sample, and their numbers a class. Raises `LorascopeError` for an id
    that is not there.
    """
    if clip_ids is None:
        return sample_from(corpus, list(corpus.clips.index), config.clips_per_class, config.seed)
    unknown = [name for name in clip_ids if name not in corpus.clips.index]
    if unknown:
        raise LorascopeError(
            f"--clip-ids: {unknown[0]} is not among the corpus' {len(corpus.clips)} clips of these classes; check the "
            f"ids ({len(unknown)} are unknown)"
        )
    return sample_from(corpus, list(clip_ids), len(clip_ids), config.seed)
