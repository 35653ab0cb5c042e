"""How the same networks run fast: each transformation makes a network from a plain one, and equals it."""
