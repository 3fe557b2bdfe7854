"""`python -m corrinit` is the `corrinit` command."""

from corrinit.cli import main

if __name__ == "__main__":
    main()
