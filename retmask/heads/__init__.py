"""Retrieval heads: trials, detectors, scores, masks, and the silencing of heads."""
