"""What is mapped, as a table: leaves put together into runs."""
