"""The manifest: what every result tells of its making."""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .. import __version__
from ..corpora import Corpus
from ..machine.environment import hardware, versions
from ..models.weights.backbone import Backbone
from ..sound.decoding import Clip
from ..sound.features import FRAMES_PER_SECOND
from ..store.folder import RunFolder, write_json


def base_manifest(
    created: str, corpus: Corpus, backbone: Backbone, context: str, clips: Mapping[str, Clip]
) -> dict[str, Any]:
    """What every result tells of its making: versions, hardware, corpus, backbone and the clips' hashes."""
    notes = [*corpus.notes, *_cut(clips, backbone), *backbone.notes]
    return {
        "lorascope": __version__,
        "command": shlex.join(["lorascope", *sys.argv[1:]]),
        "created": created,
        "versions": versions(),
        "hardware": hardware(),
        "corpus": {
            "name": corpus.name,
            "task": corpus.task,
            "synthetic": corpus.synthetic,
            "clips": len(corpus.clips),
            "speakers": int(corpus.clips["speaker"].nunique()),
            "seconds": sum(clip.seconds for clip in clips.values()),
            "classes": list(corpus.classes),
            "left_out": corpus.left_out.to_dict(orient="records"),
            "notes": notes,
        },
        "backbone": {
            "name": backbone.name,
            "source": backbone.origin,
            "context": context,
            "sha256": backbone.fingerprint,
            "layers": backbone.layers,
            "width": backbone.width,
        },
        "clips": {name: clip.hash for name, clip in clips.items()},
    }


def _cut(clips: Mapping[str, Clip], backbone: Backbone) -> list[str]:
    """A note of the clips that are longer than the encoder takes."""
    window = backbone.features.longest / FRAMES_PER_SECOND
    long = sum(clip.seconds > window for clip in clips.values())
    return [f"{long} clips are longer than {window:g} s; only their first {window:g} s are used"] if long else []


def write_manifest(folder: RunFolder, manifest: Mapping[str, Any], warnings: Sequence[str], start: float) -> None:
    """Write the manifest, with each of the `warnings` once, the seconds since `start` (of `time.perf_counter`), and the
    digests of all that the results stand on.
    """
    more = {
        "warnings": list(dict.fromkeys(warnings)),
        "seconds": time.perf_counter() - start,
        "stands_on": folder.stands_on(
            [cell["hash"] for cell in manifest["cells"]], [unit["hash"] for unit in manifest.get("analyses", ())]
        ),
    }
    write_json(folder.manifest, {**manifest, **more})


def moment() -> str:
    """This moment, as a manifest tells it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
