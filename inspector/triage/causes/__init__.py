"""The causes, each with its signature, by what goes wrong."""
