"""Strings in, integers out."""

from fromnoise.text.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
