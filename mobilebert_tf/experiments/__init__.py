"""What a run is: the Model Garden's dataclasses with defaults, YAML and flags.

A run is described by an ExperimentConfig (`runtime`, `task`, `trainer`).
"""
