"""What the stack learns from and runs on: named files with sources and hashes, and corpora."""
