"""From sound files to what an encoder takes."""
