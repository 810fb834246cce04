"""What answers show, as types: the OpenAPI document is made from them, and nothing at run time asks them. They say what the
functions beside the routes put into an answer, and tests hold every answer that they get against them."""
