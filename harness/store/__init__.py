"""Run directories: finished steps, journals, marks and locks; finding, looking at and deleting them."""
