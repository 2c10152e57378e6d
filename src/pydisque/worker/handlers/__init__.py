"""What users write, and what follows from its result. Pure."""
