"""``python -m harness``: the command line, by the interpreter that is meant."""

from harness.commands.root import main

if __name__ == "__main__":
    main(prog_name="harness")
