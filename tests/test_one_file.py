"""docs/architecture.md says that a corpus, a measure and an encoder family are one new file each: a copy of the
package gets them, and uses them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

import lorascope

from .conftest import settings_of

READER = """
from pathlib import Path

from ..corpus import About, Recordings
from . import manifest

ABOUT = About("Tones", "none", "made", None, None, "none", "none")


def read(root: Path) -> Recordings:
    return manifest.read(root)
"""

MEASURE = '''
import pandas as pd


class Loudness:
    """Mean norm of what a block gives, over the frames that hold speech."""

    def __init__(self, study):
        self.sums = {}

    def parts(self, model):
        return frozenset({"resid_post"})

    def replays(self, model):
        return frozenset()

    def update(self, part):
        norms = part.batch.speech(part.tensor).norm(dim=-1)
        total, count = self.sums.get((part.model, part.layer), (0.0, 0))
        self.sums[part.model, part.layer] = (total + float(norms.sum()), count + len(norms))

    def replay(self, replay):
        pass

    def compute(self):
        rows = [(model, layer, total / count) for (model, layer), (total, count) in self.sums.items()]
        return {"loudness": pd.DataFrame(rows, columns=["model", "layer", "norm"])}
'''

FAMILY = "from .whisper import FAMILY\n"


def test_a_reader_a_measure_and_a_family_are_a_file_each(tmp_path: Path, corpus: Path, backbone_folder: Path) -> None:
    package = tmp_path / "lorascope"
    shutil.copytree(Path(lorascope.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "corpora" / "readers" / "tones.py").write_text(READER)
    (package / "analysis" / "measures" / "loudness.py").write_text(MEASURE)
    (package / "models" / "families" / "murmur.py").write_text(FAMILY)
    settings = settings_of(corpus, backbone_folder)
    settings |= {"corpus": {"reader": "tones", "root": str(corpus)}, "folds": {"only": ["ann"]}}
    settings["methods"] = {"frozen": None, "lora": settings["methods"]["lora"] | {"epochs": 1}}
    settings["analysis"] = {"draws": 50, "measures": ["loudness"], "baselines": ["gaussian"], "clips_per_class": 2}
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(settings))
    code = (
        "import json, sys; from lorascope.cli import main; from lorascope.models.families.known import FAMILIES; "
        "json.dump(sorted(FAMILIES), open(sys.argv[1], 'w')); main(sys.argv[2:])"
    )
    arguments = [tmp_path / "families.json", "run", tmp_path / "experiment.yaml", "--out", tmp_path / "run"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    assert "murmur" in json.loads((tmp_path / "families.json").read_text())
    table = pd.read_parquet(tmp_path / "run" / "analysis" / "loudness.parquet")
    assert set(table["model"]) == {"frozen", "trained", "gaussian"} and (table["norm"] > 0).all()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["corpus"]["name"] == "tones"
