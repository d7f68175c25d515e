"""Many experiments at once: a grid of settings, its cells, and the engines that compute them."""

from ..requirements import require

require("filelock")
