"""Load a backbone, adapt it, and know its parts by one set of names."""
