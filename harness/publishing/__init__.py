"""From samples to what a person reads: comparison, tables, page."""
