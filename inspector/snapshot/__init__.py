"""Snapshots: an ELF core that carries a manifest of what it holds, written and read."""
