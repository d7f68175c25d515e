"""How a command ends when it can't go on: by a signal, on a full disk, without standard output;
one line, and it goes on.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from lorascope.api import run
from lorascope.api.telling import report as write_report
from lorascope.cli import main
from lorascope.experiment.loading import load_experiment
from lorascope.machine.endings import UNKNOWN, errno_of, storage_line
from lorascope.store.folder import RunFolder
from lorascope.work.kinds.cell import compute_cell

from ..conftest import make_corpus, settings_of
from ..tiny import write_tone

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "lorascope"]


@pytest.fixture
def experiment(tmp_path, backbone_folder):
    make_corpus(tmp_path / "corpus", clips_per_class=1)
    settings = settings_of(
        tmp_path / "corpus" / "manifest.csv", backbone_folder, folds={"only": ["ann"]}, analysis=None,
        methods={"frozen": None, "lora": {"rank": 4, "alpha": 8, "learning_rate": 1e-3, "epochs": 30}},
    )  # fmt: skip
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "experiment.yaml"


def started(*arguments, **settings):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings,
    )  # fmt: skip


def small_files():
    """No file of more than 20 kB for this process."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_a_signal_ends_in_a_line_and_the_run_goes_on(experiment, tmp_path, name):
    # whoever runs the tests may have SIGHUP ignored (nohup), which a child inherits
    process = started(
        "run", experiment, "--out", tmp_path / "out", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)
    )
    until = time.monotonic() + 60
    while not list((tmp_path / "out").glob("cells/.partial-*/candidate-0/trainer/checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + getattr(signal, name)
    assert err.splitlines()[-1] == f"interrupted by {name}; the same command continues where it stopped"
    assert "Traceback" not in err
    done = started("run", experiment, "--out", tmp_path / "out")
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0 and "report:" in out, err


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from lorascope.machine.endings import Signals; Signals(); os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "alive\n", done.stderr


def full(write):
    """What a library raises where files may have 4 KiB (`ulimit -f`, told as a full disk is): the exception."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        write()
    except Exception as error:
        return error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    raise AssertionError("nothing was raised")


def test_every_library_that_writes_is_understood(tmp_path):
    import numpy as np
    import pandas as pd

    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "a.txt").write_text("x" * 10_000)
    writes = {
        "Python": lambda: (tmp_path / "a.txt").write_text("x" * 10_000),
        "safetensors": lambda: save_file({"x": torch.zeros(10_000)}, tmp_path / "a.safetensors"),
        "shutil": lambda: shutil.copytree(tmp_path / "large", tmp_path / "copy"),
        "numpy": lambda: np.save(tmp_path / "a.npy", np.zeros(10_000)),
        "torch": lambda: torch.save({"x": torch.zeros(10_000)}, tmp_path / "a.pt"),
        "Parquet": lambda: pd.DataFrame({"x": np.random.default_rng(0).normal(size=10_000)}).to_parquet(
            tmp_path / "a.parquet"
        ),
    }
    for name, write in writes.items():
        found = errno_of(full(write))
        assert found is not None and found[0] in (errno.EFBIG, UNKNOWN), name


def test_a_cause_that_is_not_told_is_found_by_trying(tmp_path):
    import numpy as np

    told = []

    def write():
        try:
            np.save(tmp_path / "a.npy", np.zeros(10_000))
        except OSError as error:
            told.append(storage_line(error, [tmp_path]))
            raise

    full(write)
    assert told[0].startswith(f"{tmp_path}: cannot be written: File too large (")


def test_a_full_disk_is_a_line(tmp_path):
    line = storage_line(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path)), [])
    assert line is not None and line.startswith(f"{tmp_path}: cannot be written: No space left on device (")
    assert "MiB are free there" in line and "what is finished stays whole; make room, and the same command" in line
    assert storage_line(ValueError("no"), [tmp_path]) is None


def test_a_limit_on_files_ends_a_run_in_a_line(experiment, tmp_path):
    experiment.write_text(experiment.read_text().replace("epochs: 30", "epochs: 1"))
    process = started("run", experiment, "--out", tmp_path / "out", preexec_fn=small_files)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in err, err
    assert "cannot be written: File too large" in err.splitlines()[-1]
    done = started("run", experiment, "--out", tmp_path / "out")
    assert done.communicate(timeout=120)[0] and done.returncode == 0


def test_a_report_that_finds_no_room_is_a_line_and_is_made_later(experiment, tmp_path):
    out = tmp_path / "out"
    experiment.write_text(experiment.read_text().replace("epochs: 30", "epochs: 1"))
    run(load_experiment(experiment), out)
    assert not list(RunFolder(out).faults())
    process = started("report", out, preexec_fn=small_files)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in err, err
    assert "cannot be written: File too large" in err.splitlines()[-1]
    write_report(RunFolder(out), print)
    assert not list(RunFolder(out).faults())


def test_a_cache_that_goes_while_a_run_works_loses_nothing(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    experiment.write_text(experiment.read_text().replace("epochs: 30", "epochs: 1"))
    gone: list[bool] = []

    def train(*arguments, **named):
        # between the features' making and the training's reading
        gone.append((tmp_path / "cache").is_dir())
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        return compute_cell(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr("lorascope.work.run.compute_cell", train)
        disturbed = run(load_experiment(experiment), tmp_path / "disturbed")
    assert gone[0]
    undisturbed = run(load_experiment(experiment), tmp_path / "undisturbed")
    pd.testing.assert_frame_equal(disturbed.predictions, undisturbed.predictions, check_exact=True)


def test_a_full_standard_output_is_a_line():
    with Path("/dev/full").open("w") as full_device:
        done = subprocess.run([*COMMAND, "corpora"], stdout=full_device, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: standard output takes no more")


@pytest.mark.parametrize("target", ["nowhere", "out"])
def test_an_out_that_is_a_link_to_nowhere_is_a_line(experiment, tmp_path, capsys, target):
    (tmp_path / "out").symlink_to(tmp_path / target)
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(SystemExit) as ended:
            main(["run", str(experiment), "--out", str(out)])
        err = capsys.readouterr().err
        assert ended.value.code == 2 and len(err.splitlines()) == 1, err
        assert err.startswith(
            f"error: --out {out}: {tmp_path / 'out'} is a link to {tmp_path / target}, which isn't there"
        )


def test_names_beyond_ascii_are_found_whatever_the_locale(tmp_path):
    write_tone(tmp_path / "jürgen" / "ä.wav")
    (tmp_path / "jürgen" / "m.csv").write_text("path,speaker,emotion\nä.wav,Jürgen,anger\n", encoding="utf-8")
    settings = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [*COMMAND, "corpora", "check", "csv", "--root", str(tmp_path / "jürgen" / "m.csv")],
        capture_output=True, cwd=ROOT, env=settings,
    )  # fmt: skip
    assert "no faults" in done.stdout.decode() and "Jürgen" in done.stdout.decode(), done.stderr.decode()
