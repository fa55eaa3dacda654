"""How fast it is: black boxes from outside, open loop, results committed with machine and commit."""
