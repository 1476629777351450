"""HELMET's published files: where they are on this machine, and how they get there."""
