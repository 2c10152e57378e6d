"""The commands of pydisque, one module each or one for a close family."""
