"""From a guest that comes no further to what keeps it there: registers over time, what the tables say of them, and a
catalogue of causes, each with the signature that it is known by."""
