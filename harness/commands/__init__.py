"""The command line: one file for each command. Nothing in the rest of the project imports from here."""
