"""The stack on one machine: a real Kafka broker and a real MongoDB-protocol store, started and stopped from Python."""

from deploy.local.choice import Choice
from deploy.local.errors import StackError
from deploy.local.stack import Product, Stack, attach_stack, start_stack

__all__ = ["Choice", "Product", "Stack", "StackError", "attach_stack", "start_stack"]
