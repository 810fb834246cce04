"""How the product is brought up: image, compose files, and the stack on one machine."""
