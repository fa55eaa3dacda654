"""Loops over events as machine code, which is compiled once a machine and read back without the compiler.

numba takes a second to import and another to find what it compiled before. The machine code itself needs neither: it
is kept beside its source, and the next process brings it in by LLVM's own loader (llvmlite, which numba stands on) in
a tenth of a second. So it must ask for nothing of numba's while it runs: a compiled function takes numbers and arrays
of one dimension, as its annotations say, writes into arrays that it is given, makes none, and raises nothing. One that
does more is refused when it is compiled.
"""
