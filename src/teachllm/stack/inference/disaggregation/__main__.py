"""A worker process: ``python -m teachllm.stack.inference.disaggregation``, told what to do by its parent."""

from teachllm.stack.inference.disaggregation.processes import work

if __name__ == "__main__":
    work()
