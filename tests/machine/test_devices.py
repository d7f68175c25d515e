"""What there is to compute on, where torch was built for what is not there."""

from pathlib import Path

import pytest
import torch

import lorascope
from lorascope.experiment.methods import LoraConfig
from lorascope.machine import devices
from lorascope.training.arguments import training_arguments


@pytest.fixture
def built_for_cuda(monkeypatch):
    """The build that a package index gives on Linux, on a machine without a GPU: CUDA is named unless it is
    asked whether it is there.
    """
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    def current_accelerator(check_available=False):
        return None if check_available else torch.device("cuda")

    monkeypatch.setattr("torch.accelerator.current_accelerator", current_accelerator)


def test_a_build_for_cuda_is_no_gpu(built_for_cuda):
    assert torch.accelerator.current_accelerator() == torch.device("cuda")
    assert devices.accelerator() is None and not devices.has_gpus() and not devices.has_cuda()
    assert (devices.device(), devices.device_name(), devices.visible_gpus()) == ("cpu", "cpu", ())


def test_bfloat16_is_computed_where_only_the_build_names_cuda(built_for_cuda, tmp_path):
    arguments = training_arguments(LoraConfig(), 1e-3, 1, "bf16", tmp_path)
    assert arguments.use_cpu and arguments.bf16 and arguments.device.type == "cpu"


@pytest.mark.parametrize(("kind", "several"), [("cuda", True), ("xpu", True), ("mps", False)])
def test_an_accelerator_that_is_there_is_told(monkeypatch, kind, several):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda check_available=False: torch.device(kind))
    assert devices.accelerator() == kind and devices.has_gpus() == several


def test_gpus_bear_the_names_that_this_process_sees(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 7")
    assert devices.visible_gpus() == ("3", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices.visible_gpus() == ("0", "1")


def test_nothing_else_asks_for_a_device():
    asked = ("torch.accelerator", "cuda.is_available", "cuda.device_count", "mps.is_available")
    askers = [
        file.name
        for file in Path(lorascope.__file__).parent.rglob("*.py")
        if any(words in file.read_text(encoding="utf-8") for words in asked)
    ]
    assert askers == ["devices.py"]


def test_convolutions_are_whole_in_the_block_and_as_before_after_it():
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), devices.whole_float32():
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 == before
