"""What all other folders may use, and what knows none of them."""
