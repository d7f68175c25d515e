"""A family of encoders a file: its classifier and where its parts lie."""
