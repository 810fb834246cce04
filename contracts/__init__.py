"""What crosses a service boundary: typed commands and events, topics, the envelope, money and ids."""
