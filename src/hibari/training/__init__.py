"""How hibari-mini is made: the rendered world, fitting, evaluation."""
