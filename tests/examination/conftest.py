"""Small adapters of every kind, made once for each family; the sicknesses are those of benchmarks/."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import small_adapters

from lorascope.examination.examine import examine
from lorascope.examination.examined import Examined
from lorascope.examination.labelled import read_clips
from lorascope.examination.patient import read_patient


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """made(family, kind) is a healthy adapter; with `skilled` one that knows the clips."""
    root = tmp_path_factory.mktemp("adapters")
    known = {}

    def of(family, kind, skilled=False):
        if (family, kind, skilled) in known:
            return known[family, kind, skilled]
        bare = root / f"{family}-bare"
        if not bare.is_dir():
            small_adapters.encoder(family, bare)
            small_adapters.encoder(family, root / f"{family}-headed", head=True)
        folder = root / f"{family}-{kind}-{skilled}"
        if skilled:
            targets = small_adapters.TARGETS[3]
            rate = {"ia3": 1e-2, "full": 3e-3}.get(kind, 2e-3)
            found = small_adapters.make(folder, bare, kind, family, steps=60, targets=targets, rate=rate)
            small_adapters.record(found)
            if not (root / "clips").is_dir():
                small_adapters.clips(root / "clips")
            found.manifest = root / "clips" / "manifest.csv"
        else:
            found = small_adapters.make(folder, bare, kind, family, steps=6)
        known[family, kind, skilled] = found
        return found

    return of


@pytest.fixture
def sick(made, tmp_path):
    """sick(plant, family, kind) is a copy of a healthy adapter with that sickness."""

    def of(plant, family, kind):
        healthy = made(family, kind, plant.labelled)
        folder = tmp_path / "sick"
        shutil.copytree(healthy.folder, folder)
        backbone = healthy.backbone if plant.bare else healthy.backbone.with_name(f"{family}-headed")
        ill = small_adapters.Made(folder, backbone, kind, family, dict(healthy.settings), healthy.manifest)
        plant.do(ill)
        return ill

    return of


def look(one, labelled=False):
    """What the doctor finds in an adapter."""
    given = read_clips(None, None, one.manifest) if labelled else None
    return examine(Examined(read_patient(one.folder), str(one.backbone), given))


def codes(examination):
    """The codes of what was found, remarks without a sickness of theirs left out."""
    return {finding.code for finding in examination.findings} - {"no_card"}
