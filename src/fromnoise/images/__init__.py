"""Between pictures and numbers."""
