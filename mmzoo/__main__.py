"""`python -m mmzoo`: the command line."""

from mmzoo.cli.main import main

if __name__ == "__main__":
    main()
