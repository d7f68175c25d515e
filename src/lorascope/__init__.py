"""lorascope: what a LoRA adapter did inside a speech encoder."""

__version__ = "0.1.0"
