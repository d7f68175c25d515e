"""Files are read by whom the umask lets; and a cache that holds everything may be read-only."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lorascope.api import run
from lorascope.experiment.loading import experiment_from

from ..conftest import make_corpus, settings_of

ROOT = Path(__file__).parents[2]
METHODS = {
    "frozen": {"learning_rate": 1e-2, "epochs": 1},
    "logistic": {"kind": "frozen", "head": "logistic"},
    "lora": {"rank": 4, "alpha": 8, "learning_rate": 1e-3, "epochs": 1},
    "full": {"learning_rate": 1e-4, "epochs": 1},
}


@pytest.fixture
def settings(tmp_path, backbone_folder):
    make_corpus(tmp_path / "corpus", clips_per_class=1)
    manifest = tmp_path / "corpus" / "manifest.csv"
    return settings_of(manifest, backbone_folder, folds={"only": ["ann"]}, methods=METHODS)


@pytest.mark.parametrize("umask", [0o027, *(pytest.param(umask, marks=pytest.mark.slow) for umask in (0o002, 0o077))])
def test_every_file_has_the_mode_that_the_umask_gives(settings, tmp_path, umask):
    settings["analysis"] = {"draws": 50, "measures": ["contribution"], "clips_per_class": 1}
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(settings))
    code = f"import os; os.umask({umask}); from lorascope.cli import main; main()"
    arguments = ["run", str(tmp_path / "experiment.yaml"), "--out", str(tmp_path / "out")]
    cache = os.environ | {"LORASCOPE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=cache, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = [path for name in ("out", "cache") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".parquet", ".npz", ".npy", ".json", ".html", ".csv"}
    wrong = {
        str(path): oct(path.stat().st_mode) for path in files if stat.S_IMODE(path.stat().st_mode) != 0o666 & ~umask
    }
    assert not wrong


def test_a_complete_cache_and_a_corpus_may_be_read_only(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    experiment = experiment_from(settings | {"analysis": None})
    monkeypatch.setattr("lorascope.report.write_all", lambda folder, _: folder)
    before = run(experiment, tmp_path / "one")
    opened, made = os.open, os.mkdir

    def refuse(path):
        if any(str(tmp_path / name) in str(path) for name in ("cache", "corpus")):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def read_alone(path, flags, *rest, **named):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse(path)
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", read_alone)
    monkeypatch.setattr(os, "mkdir", lambda path, *rest, **named: refuse(path) or made(path, *rest, **named))
    after = run(experiment, tmp_path / "two")
    assert [cell["hash"] for cell in after.manifest["cells"]] == [cell["hash"] for cell in before.manifest["cells"]]
