"""The five services. None imports another; each has its process in `app`."""
