# Thin: bootstrap.py does the work, also without make (python3 bootstrap.py start).
PYTHON ?= python3

.PHONY: start test test-slow doctor bench
start test test-slow doctor:
	@$(PYTHON) bootstrap.py $@ $(ARGS)
bench:
	@$(PYTHON) bootstrap.py bench $(NAME) $(ARGS)
