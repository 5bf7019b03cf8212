"""How good a search is: measures over rankings, tests of differences, collections with known answers."""
