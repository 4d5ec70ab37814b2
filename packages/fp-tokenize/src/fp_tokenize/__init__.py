"""Stage 7 of 10: Tokenizers: characters, bytes, BPE, WordPiece, Unigram."""

__all__: list[str] = []
__version__ = "0.1.0"
