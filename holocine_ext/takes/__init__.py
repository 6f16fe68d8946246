"""Earlier runs that later ones begin from: what they say, and what of them is held."""
