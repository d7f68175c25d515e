"""What is asked for: configuration, methods, Trainer's arguments, grids, and the plan of cells.
Nothing is computed here.
"""
