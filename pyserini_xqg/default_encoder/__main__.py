"""Prints the directory of the encoder that comes with the package."""

from pyserini_xqg.default_encoder import directory

if __name__ == "__main__":
    print(directory())
