"""One cell = (backbone, method, corpus, fold, seed): train it, predict its test speaker, keep its numbers."""

from ..machine.requirements import require

require("torch", "transformers", "peft", "accelerate", "scikit-learn", "safetensors")
