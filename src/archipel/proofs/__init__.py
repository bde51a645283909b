"""Evidence about floating-point results that cannot be recomputed to the bit.

Reading order: `forced` (does each token follow from the run's noise?), `toploc` (fingerprints of activations),
`binomial` and `record` (thresholds and how sure they are), `calibration` with `provers` (where thresholds come
from), `sequential` (many audits of one provider). Law: no threshold stands in code; each comes from a record of
measurements, because none transfers between models, machines, dtypes or kernels.
"""
