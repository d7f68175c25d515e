"""Arrays in, numbers out: nothing here knows of models, sound or files."""
