"""Finished results of other tools as runs that can be compared and ranked."""
