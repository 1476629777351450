"""Servers: requests to them, what they say of their model, whether they cut prompts."""
