"""fromnoise beside other programs that run the same networks, on one machine, in one run."""
