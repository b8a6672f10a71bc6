"""Tables of named columns into files that other programs read: CSV, JSON lines, Parquet."""
