"""What every refusal of bad input has in common."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lorascope.errors import LorascopeError


def refused(call: Callable[[], object], *told: str) -> str:
    """The message with which a call is refused: one line that holds every string of `told` (the place, the way out)."""
    with pytest.raises(LorascopeError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message and len(message) < 600, message
    for words in told:
        assert words in message, f"{words!r} is not in: {message}"
    return message
