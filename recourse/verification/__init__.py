"""The invariants of the whole product, checked from outside on stores and topics, with none of the code that fills them."""
