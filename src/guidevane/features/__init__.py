"""Features: frozen values that turn columns of a micro-batch into the vectors that members read.

One implementation serves training and serving. Nothing but windows looks at more than one row, and those look at the
rows before it, wherever its batch was cut: a row's vector is the same to the byte.
"""

from guidevane.features.columns import Columns, columns_from, columns_of, numbers
from guidevane.features.encoders import Embed, Numeric, OneHot, Standardise
from guidevane.features.feature import Encoder, Feature
from guidevane.features.feature_set import FeatureSet, Vectors
from guidevane.features.transforms import Clip, Fill, Log1p
from guidevane.features.windows import KEY, TIME, Kept, Window, WindowCount, WindowDistinct, WindowMean

__all__ = [
    "KEY",
    "TIME",
    "Clip",
    "Columns",
    "Embed",
    "Encoder",
    "Feature",
    "FeatureSet",
    "Fill",
    "Kept",
    "Log1p",
    "Numeric",
    "OneHot",
    "Standardise",
    "Vectors",
    "Window",
    "WindowCount",
    "WindowDistinct",
    "WindowMean",
    "columns_from",
    "columns_of",
    "numbers",
]
