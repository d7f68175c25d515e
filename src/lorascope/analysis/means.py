"""What some measures need beside models and features: the clips' sounds, a decoder; or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..models.transcriber import Transcriber
from ..sound.changed import ChangedClips


@dataclass(frozen=True)
class Means:
    """`sounds` change clips and give their features, `decoder` writes down what an encoder heard. `lacking` says why
    one of these is None, by its name.
    """

    sounds: ChangedClips | None = None
    decoder: Transcriber | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, str]:
        """What isn't there, and why."""
        usual = {"sounds": "the clips' sounds are not at hand", "decoder": "no decoder is at hand"}
        return {name: self.lacking.get(name, why) for name, why in usual.items() if getattr(self, name) is None}
