"""Contact sheets and the lettering on them."""
