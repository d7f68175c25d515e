"""What a trained cell of a run says of clips that somebody brings: any sound files, whether or not of its corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
from scipy.special import softmax

from ..corpora.readers.files import OTHER_SUFFIXES, sound_files
from ..errors import LorascopeError
from ..experiment.config import Experiment
from ..experiment.loading import load_experiment
from ..machine.devices import device
from ..models.weights.backbone import Backbone, load_backbone
from ..sound.decoding import load_hashed, prepare_clips
from ..store import seals
from ..store.finished import FinishedCell, FinishedRun
from ..training.cell import logits_of
from ..training.inputs import Inputs
from .sources import Say


@dataclass(frozen=True)
class Predicted:
    """What a cell says of clips.

    `model` names it: name, label, fold, seed, cell, classes, context, and `chosen`, why it is this one. `table` has a
    row a clip: clip, predicted, p_<class> for each class (softmax of the logits), and `heard`: "test" where the run
    tested this cell on a clip of the same bytes, "training" where it is another clip of the run's corpus, which the
    cell was trained or chosen on unless its fold left it out, else "".
    """

    model: dict[str, Any]
    table: pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """What has to be said beside the numbers."""
        trained, tested = (list(self.table.loc[self.table["heard"] == part, "clip"]) for part in ("training", "test"))
        notes = []
        if trained:
            notes.append(
                f"{_these(trained)} of the run's own corpus and not of this fold's test clips: the model was trained "
                "or chosen on it unless the fold left it out, so its answer flatters the model."
            )
        if tested:
            notes.append(f"{_these(tested)} of this fold's test clips: the run stored the same answer.")
        return notes

    def as_json(self) -> dict[str, Any]:
        """As plain data: the model, and of every clip its class and probabilities."""
        classes = self.model["classes"]
        clips = [
            {
                "clip": row["clip"],
                "predicted": row["predicted"],
                "probabilities": {name: float(row[f"p_{name}"]) for name in classes},
                "heard": row["heard"] or None,
            }
            for row in self.table.to_dict("records")
        ]
        return {"model": self.model, "clips": clips, "notes": self.notes}


def predict(
    place: Path,
    clips: Sequence[str | Path],
    method: str | None,
    fold: str | None,
    seed: int | None,
    say: Say,
) -> Predicted:
    """As `lorascope.predict`, which see."""
    run, cell, why = cell_of(place, method, fold, seed)
    if not clips:
        raise LorascopeError("no clips; give sound files, or a folder of them")
    experiment = load_experiment(run.path / "config.yaml")
    asked = experiment.conditions.get(cell.metrics["name"])
    if asked is None:
        raise LorascopeError(f"{run.path}/config.yaml: has no method {cell.metrics['name']!r}; run it again")
    backbone = open_backbone_of(run, cell, experiment)
    files = _files(clips)
    say(f"{len(files)} clip{'' if len(files) == 1 else 's'}, {cell.metrics['label']}, fold {cell.metrics['fold']}")
    heard = prepare_clips([(name, name, None, None) for name in files], backbone.features)
    inputs = Inputs(
        clips=heard,
        labels={},
        speakers={},
        load=lambda: open_backbone_of(run, cell, experiment),
        device=device(),
        samples=lambda name: load_hashed(name, heard[name].hash),
    )
    logits = logits_of(asked, cell.metrics["context"], inputs, run.path / "cells" / cell.hash / "adapter", files)
    classes = list(cell.metrics["classes"])
    table = pd.DataFrame({"clip": files, "predicted": [classes[index] for index in logits.argmax(axis=1)]})
    table[[f"p_{name}" for name in classes]] = softmax(logits.astype(float), axis=1)
    told = {key: cell.metrics[key] for key in ("name", "label", "fold", "seed", "context")}
    model = told | {"cell": cell.hash, "classes": classes, "chosen": why}
    return Predicted(model, table.assign(heard=_heard(run, cell, [heard[name].hash for name in files])))


def cell_of(
    place: Path, method: str | None = None, fold: str | None = None, seed: int | None = None
) -> tuple[FinishedRun, FinishedCell, str]:
    """The run of a run's or a cell's folder, the cell that is meant, and why it is that one.

    Of a run by default the method of Table 1 with the highest mean UAR on the clips that its epoch was chosen on
    (controls left out), its first fold and first seed. Raises `LorascopeError` where there is none, and where a file is
    not as it was sealed.
    """
    inside = (place / "metrics.json").is_file() and place.parent.name == "cells"
    run = FinishedRun(place.parents[1] if inside else place)
    cells = run.cells
    if not cells:
        raise LorascopeError(f"{place}: no cell was trained here; give the folder of a run")
    if inside:
        if method or fold or seed is not None:
            raise LorascopeError(f"{place}: is one cell; --method, --fold and --seed choose one of a run")
        found = [cell for cell in cells if cell.hash == place.name]
        if not found:
            raise LorascopeError(f"{place}: the run's manifest doesn't list this cell; give another, or the run")
        why = "given"
    else:
        found, why = _chosen(run, method, fold, seed)
    (cell, *_) = found
    folder = run.path / "cells" / cell.hash
    for fault in seals.faults(folder) if seals.is_sealed(folder) else ():
        raise LorascopeError(f"{folder}/{fault.name}: {fault.what}; the run's own command makes it again")
    return run, cell, why


def _chosen(run: FinishedRun, method: str | None, fold: str | None, seed: int | None) -> tuple[list[FinishedCell], str]:
    found, why = run.table1_cells or run.cells, []
    if method is None:
        known = load_experiment(run.path / "config.yaml").conditions
        controls = {name for name, method in known.items() if method.control is not None}
        of = {name: [cell for cell in found if cell.metrics["name"] == name] for name in _names(found, "name")}
        scores = {
            name: mean(cell.metrics["validation"]["uar"] for cell in cells)
            for name, cells in of.items()
            if name not in controls
        }
        method = max(scores, key=lambda name: scores[name])
        why.append(f"{method} has the highest mean UAR on the selection clips, {scores[method]:.3f}")
    for option, key, wanted in (("--method", "name", method), ("--fold", "fold", fold), ("--seed", "seed", seed)):
        there = _names(found, key)
        if wanted is None:
            wanted = there[0]
            if len(there) > 1:
                why.append(f"the first {key} of {len(there)}")
        found = [cell for cell in found if str(cell.metrics[key]) == str(wanted)]
        if not found:
            raise LorascopeError(f"{option} {wanted}: not in this run; there are {', '.join(map(str, there))}")
    return found, "; ".join(why) or "given"


def _names(cells: Sequence[FinishedCell], key: str) -> list[Any]:
    return list(dict.fromkeys(cell.metrics[key] for cell in cells))


def open_backbone_of(run: FinishedRun, cell: FinishedCell, experiment: Experiment) -> Backbone:
    """The backbone that a cell was trained on. Raises `LorascopeError` where its weights are others by now."""
    backbone = load_backbone(
        experiment.backbone.name, cell.metrics["classes"], experiment.seed, experiment.head.projection
    )
    known = run.manifest["backbone"].get("sha256")
    if known and known != backbone.fingerprint:
        raise LorascopeError(
            f"backbone {experiment.backbone.name}: its weights are not those that {run.path} was trained on; put the "
            "same ones there"
        )
    return backbone


def _files(clips: Sequence[str | Path]) -> list[str]:
    """The sound files of files and folders, each once, in the order that they are given."""
    files: dict[str, None] = {}
    for clip in clips:
        folder = Path(clip)
        files |= dict.fromkeys(
            map(str, sound_files(folder, "**/*", OTHER_SUFFIXES)) if folder.is_dir() else [str(clip)]
        )
    return list(files)


def _heard(run: FinishedRun, cell: FinishedCell, hashes: Sequence[str]) -> list[str]:
    clips = run.manifest.get("clips") or {}
    tested = {clips.get(clip) for clip in run.predictions(cell)["clip"]}
    known = set(clips.values())
    return ["test" if each in tested else "training" if each in known else "" for each in hashes]


def _these(names: Sequence[str]) -> str:
    first = Path(names[0]).name
    return f"{first} is" if len(names) == 1 else f"{len(names)} clips (as {first}) are"
