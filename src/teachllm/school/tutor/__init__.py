"""The tutor: answers from the course's own text, with the places that it took them from.

A connected model (`endpoint`) writes; without one, the best passages are the answer. What nothing in the
course supports is not answered. On an exercise it hints in steps.
"""
