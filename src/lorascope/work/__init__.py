"""Units of work and who computes them."""

from ..machine.requirements import require

require("filelock")
