"""Parts of the bake-off: what it compares, on what, and how."""
