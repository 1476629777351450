"""Training in processes of its own, with trl."""
