"""What a model costs on this machine: time, memory and counted work, beside those of its reference."""
