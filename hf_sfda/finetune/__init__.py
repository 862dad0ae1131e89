"""Fine-tune a checkpoint on a target by one fixed recipe and measure it on unseen samples.

The recipe (LP-FT, Kumar et al., ICLR 2022, arXiv:2202.10054, with care for batch norm):

1. Make the checkpoint ready: the scale of raw pixels moves into the first layer, batch norms that
   were folded away get real statistics (both leave the function unchanged). The statistics of all
   batch norms are frozen: those measured again on the training part if the validation part prefers
   their features, else the published ones.
2. Fit a logistic regression (of values: a ridge regression) on the last layer's features: the head
   starts there.
3. Train all weights with AdamW. The validation part chooses the learning rate and the epoch.
4. Read the test part once, with the chosen weights.

:mod:`hf_sfda.finetune.objectives` says what is optimised and measured for each kind of label.
"""

from __future__ import annotations

from hf_sfda.finetune.result import Epoch, Measured, Trial
from hf_sfda.finetune.run import finetune

__all__ = ["Epoch", "Measured", "Trial", "finetune"]
