"""Several processes train a cell together and end where one ends: the shares of a batch make up the batch, and a
launch of two is a launch of one.
"""

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lorascope import analyze
from lorascope.api import run
from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.machine import processes
from lorascope.training.arguments import check_arguments
from lorascope.training.data import LengthBatches, ShareOfBatches

from ..conftest import settings_of

LENGTHS = [0] * 13 + [1] * 3 + [2] * 8


@pytest.mark.parametrize(("count", "steps"), [(1, 1), (2, 1), (3, 1), (2, 4), (5, 2)])
def test_shares_of_a_batch_make_up_the_batch(count, steps):
    values = np.random.default_rng(0).normal(size=len(LENGTHS))
    shares = [list(ShareOfBatches(LengthBatches(LENGTHS, 8, 1), count, number, steps)) for number in range(count)]
    batches = list(LengthBatches(LENGTHS, 8, 1))
    assert {len(share) for share in shares} == {len(batches) * steps}
    for number, batch in enumerate(batches):
        pieces = [piece for share in shares for piece in share[number * steps : (number + 1) * steps]]
        # every clip once
        assert sorted(index for piece in pieces for index, weight, _ in piece if weight) == sorted(batch)
        # what Trainer does with a step's losses: the mean over pieces of mean times weight
        means = [np.mean([values[index] for index, *_ in piece]) * piece[0][1] for piece in pieces]
        assert np.mean(means) == pytest.approx(np.mean(values[batch]))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_even_shares_hold_every_clip_once_and_have_one_size(count):
    shares = [list(ShareOfBatches(LengthBatches(LENGTHS, 8, None), count, n, even=True)) for n in range(count)]
    for pieces in zip(*shares, strict=True):
        assert len({len(piece) for piece in pieces}) == 1
    counted = [index for share in shares for piece in share for index, weight, _ in piece if weight]
    assert sorted(counted) == list(range(len(LENGTHS)))


def test_one_process_has_the_batches_as_they_are():
    share = ShareOfBatches(LengthBatches(LENGTHS, 8, 1))
    share.set_epoch(3)
    batches = LengthBatches(LENGTHS, 8, 1)
    batches.set_epoch(3)
    assert list(share) == [[(index, 1.0, 3) for index in batch] for batch in batches]


# batches of 10 leave a last one of 4, which five steps in each of two processes cannot all have a part of; no dropout,
# since two processes draw otherwise than one
TOGETHER = {
    "frozen": {"learning_rate": 1e-2, "epochs": 2},
    "lora": {"rank": 4, "alpha": 8, "learning_rate": 1e-2, "epochs": 2, "dropout": 0.0, "batch_size": 10},
    "adalora": {"rank": 2, "alpha": 4, "learning_rate": 1e-2, "epochs": 2, "dropout": 0.0, "batch_size": 10},
    "full": {"learning_rate": 1e-4, "epochs": 1, "batch_size": 10},
}


@pytest.mark.slow
def test_a_launch_of_two_processes_gives_what_one_gives(tmp_path, corpus, backbone_folder, monkeypatch):
    settings = settings_of(corpus, backbone_folder, methods=TOGETHER, folds={"only": ["ann"]}, analysis=None)
    monkeypatch.setattr("lorascope.report.write_all", lambda folder, _: folder)
    one = run(experiment_from(settings), tmp_path / "one")
    file = tmp_path / "experiment.yaml"
    trainer = {"gradient_accumulation_steps": 5, "gradient_checkpointing": True}
    file.write_text(yaml.safe_dump(settings | {"trainer": trainer}))
    # before accelerate 1.7 the launcher finds no free port by itself
    launch = (
        "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision bf16 "
        f"--dynamo_backend no --main_process_port {_free_port()}"
    )
    command = [sys.executable, *launch.split(), "-m", "tests.training.launched", str(file), str(tmp_path / "two")]
    # processes that never meet would wait for days
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # one of them speaks
    assert sum("full fine-tuning, fold ann: UAR" in line for line in done.stdout.splitlines()) == 1
    two = type(one)(tmp_path / "two")
    assert (one.manifest["processes"], two.manifest["processes"]) == (1, 2)
    for first, second in zip(one.manifest["cells"], two.manifest["cells"], strict=True):
        assert first["hash"] == second["hash"]
        ours, theirs = (_logged(result.folder.cell(first["hash"])) for result in (two, one))
        assert len(ours) == len(theirs)
        for mine, its in zip(ours, theirs, strict=True):
            assert mine == pytest.approx(its, rel=1e-5, abs=1e-6), first["label"]
    logits = [column for column in one.predictions if column.startswith("logit_")]
    np.testing.assert_allclose(two.predictions[logits], one.predictions[logits], rtol=1e-5, atol=1e-6)
    rest = one.predictions.columns.difference([*logits])
    pd.testing.assert_frame_equal(two.predictions[rest], one.predictions[rest])


def _free_port():
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
        return here.getsockname()[1]


def _logged(folder):
    lines = [json.loads(line) for line in (folder / "train.log").read_text().splitlines()]
    kept = ("step", "epoch", "loss", "learning_rate", "grad_norm", "eval_uar", "eval_war", "eval_ce", "train_loss")
    return [{key: value for key, value in line.items() if key in kept} for line in lines]


def _told(answer, folder, number):
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=3)
    processes._group = torch.distributed.group.WORLD
    try:
        told = processes.on_first(lambda: answer(number))
        told = (told, processes.first_before_others(lambda: number), processes.count())
    except Exception as error:
        told = error
    (folder / f"{number}").write_bytes(pickle.dumps(told))


def _fails(number):
    raise ValueError(f"process {number} has no disk left")


@pytest.mark.parametrize("answer", [lambda number: {"by": number}, _fails])
def test_the_first_process_acts_and_tells_the_others(tmp_path, answer):
    children = []
    for number in range(3):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                _told(answer, tmp_path, number)
            finally:
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    told = [pickle.loads((tmp_path / str(number)).read_bytes()) for number in range(3)]
    if answer is _fails:
        assert isinstance(told[0], ValueError)
        assert all(isinstance(error, LorascopeError) for error in told[1:])
        assert {str(error) for error in told} == {"process 0 has no disk left"}
    else:
        assert told == [({"by": 0}, number, 3) for number in range(3)]


def test_alone_everything_is_a_plain_call():
    assert (processes.count(), processes.number()) == (1, 0)
    assert processes.on_first(lambda: 3) == processes.first_before_others(lambda: 3) == 3


def test_an_analysis_alone_is_for_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    processes.refuse_several("analyze")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(LorascopeError, match="analyze is for one process"):
        analyze("backbone", "adapter", "out", "csv")


def test_a_batch_that_cannot_be_shared_is_refused(corpus, backbone_folder, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    experiment = experiment_from(settings_of(corpus, backbone_folder))
    with pytest.raises(LorascopeError, match=r"methods.lora.batch_size: 8 clips cannot be shared evenly among 3 proc"):
        check_arguments(experiment)
    monkeypatch.setattr(processes, "count", lambda: 4)
    check_arguments(experiment)
    steps = experiment_from(settings_of(corpus, backbone_folder, trainer={"gradient_accumulation_steps": 4}))
    with pytest.raises(LorascopeError, match="among 4 processes in 4 steps each; start fewer processes"):
        check_arguments(steps)
