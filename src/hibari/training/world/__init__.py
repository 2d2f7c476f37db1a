"""The rendered world: every training clip and its caption, from a seed."""
