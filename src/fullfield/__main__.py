"""``python -m fullfield``: the program by the interpreter that runs it."""

from fullfield.cli.program import run

if __name__ == "__main__":
    run()
