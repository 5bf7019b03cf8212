"""Wrong versions of exercise {id}, at least three: the mistakes that learners make."""

# Each names the check that must be the first to fail, so that its diagnosis fits the mistake. The imports of
# the stub are there. For example:
#
#   from teachllm.school.checks import mutant
#
#   @mutant("test_masked_positions_get_zero")
#   def mask_after_softmax(q, k, v, mask=None):
#       ...
