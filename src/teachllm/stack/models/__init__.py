"""Model families, each a short file, and the files their weights come in."""
