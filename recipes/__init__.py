"""How files that ship with the project were made."""
