"""What the connections of a node share."""
