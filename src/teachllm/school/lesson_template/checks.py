"""Graders of exercise {id}: ordinary pytest tests of the fixture `implementation`, simple cases first."""

# A learner reads the diagnosis of the first check that fails: name the mistake, not the symptom. For example:
#
#   from teachllm.school.checks import diagnosis
#
#   @diagnosis(zh="掩码加在了 softmax 之后。", en="The mask is applied after the softmax.")
#   def test_masked_positions_get_zero(implementation):
#       ...
