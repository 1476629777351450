"""Models: from what a user calls one to a directory that is safe to load, and the loading."""
