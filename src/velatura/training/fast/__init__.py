"""Training of the fast adapter: pictures, what is wanted of a result, and the optimisation."""
