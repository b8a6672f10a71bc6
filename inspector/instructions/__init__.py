"""Instructions: what one is, and what it reaches in memory by the registers of its vCPU.

Pure: words and registers in, dataclasses out. Capstone gives the text of an instruction, this room what its accesses
are, for that is what tables are asked about."""
