"""What the machine at hand can do, and whether it does it right."""
