"""Load a backbone, adapt it, and know its parts by one set of names."""

from ..machine.requirements import require

require("torch", "transformers", "peft", "huggingface_hub", "safetensors", "numpy")
