"""What a user may choose: the schema, the keys, and the sentences on what is wrong with them."""
