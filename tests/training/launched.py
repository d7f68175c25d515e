"""What the test of several processes launches: runs an experiment from a YAML file, without the report, which
is not what it is about.

`python -m tests.training.launched EXPERIMENT.yaml OUT`
"""

import sys
from pathlib import Path

import lorascope.report
from lorascope.api import run
from lorascope.experiment.loading import load_experiment

if __name__ == "__main__":
    file, out = map(Path, sys.argv[1:])
    lorascope.report.write_all = lambda folder, _: folder
    run(load_experiment(file), out, print)
