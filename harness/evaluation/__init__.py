"""Evaluations: the suite, its answers and their scores, in full or in rounds; extra tasks; reference points."""
