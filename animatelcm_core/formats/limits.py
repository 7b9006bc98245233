"""How large a weights file may say it is, before anything is done with what it says.

Each bound lies well over every published file and well under what costs a machine its memory: refusing a file
takes at most 5 s and 1 GB above the file's own size on two cores.
"""

from __future__ import annotations

# The JSON parser needs up to 25 bytes a byte (`[{},{},...]`), the library the same again: half a GB at this
# size. 50,000 tensors, more than any model has, take 7 MB.
MAX_HEADER = 10_000_000
MAX_ENTRIES = 50_000  # tensors, and tables they are in; a whole training checkpoint of SD1.5 has 4,000
MAX_DEPTH = 32  # tables in tables
MAX_NAME = 500  # characters of a tensor's name
MAX_RANK = 16  # axes of a tensor
MAX_SIZE = 2**40  # numbers along one axis

# A pickle is run twice in Python, a million steps a second: first here on inert stand-ins, then by PyTorch.
# The largest checkpoints take 45 steps a tensor, 200,000 in all.
MAX_PICKLE = 32 * 2**20  # bytes of the part without numbers
MAX_STEPS = 1_000_000
MAX_DIRECTORY = 16 * 2**20  # bytes of a zip archive's list of records

# An expanded tensor of this many numbers is let pass, small ones are found in real files.
MAX_EXPANDED = 4096
# Tensors may share their numbers (tied weights): all together at most this many times the file.
MAX_SHARED = 4
SHARED_BYTES = 64 * 2**20

# Sizes of a motion model: released ones have 4 levels of 2 layers, 1280 channels and 64 rows at the most.
MAX_LEVELS = 16
MAX_LAYERS = 32
MAX_CHANNELS = 4096
MAX_HEADS = 256
MAX_FRAMES = 1024
