"""Features: frozen values that turn columns of a micro-batch into the vectors that members read.

One implementation serves training and serving. Nothing here looks at more than one row at a
time, so a row's vector is the same to the byte however its batch was cut.
"""

from guidevane.features.columns import Columns, columns_of, numbers
from guidevane.features.encoders import Embed, Numeric, OneHot, Standardise
from guidevane.features.feature import Encoder, Feature
from guidevane.features.feature_set import FeatureSet
from guidevane.features.transforms import Clip, Fill, Log1p

__all__ = [
    "Clip",
    "Columns",
    "Embed",
    "Encoder",
    "Feature",
    "FeatureSet",
    "Fill",
    "Log1p",
    "Numeric",
    "OneHot",
    "Standardise",
    "columns_of",
    "numbers",
]
