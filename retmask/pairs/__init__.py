"""Preference pairs: instructions, sampled responses, and their pairing."""
