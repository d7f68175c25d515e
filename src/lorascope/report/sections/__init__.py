"""The parts of the page that show figures, a file a tab: their words, what they need, and the tables below them."""

from __future__ import annotations

from ..section import Section
from . import causes, hearing, layers, rank_space, training

#: The tabs that hold sections, in their order.
PARTS = (layers.PART, rank_space.PART, causes.PART, hearing.PART, training.PART)
SECTIONS: tuple[Section, ...] = tuple(section for part in PARTS for section in part.sections)
