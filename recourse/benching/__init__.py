"""The benchmarks: what each measures is said in its module; `recourse bench` is their command line."""
