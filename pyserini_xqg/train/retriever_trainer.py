"""sentence-transformers' trainer and its contrastive losses, as this package uses them."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from transformers import PrinterCallback


class RetrieverTrainer(SentenceTransformerTrainer):
    """Writes no model card, which would quote the training data."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.remove_callback(PrinterCallback)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add none."""


def contrastive_loss(model: Any, temperature: float, mini_batch: int, processes: int) -> torch.nn.Module:
    """Cross-entropy of each question's positive passage among all passages of the update, of all ``processes``.

    mini_batch : texts in one pass through the model, by gradient caching (Gao et al. 2021, arXiv 2101.06983), which
    gives the same loss and gradients; 0 for all at once.
    """
    options = {
        "scale": 1 / temperature,
        "similarity_fct": inner_products,
        "gather_across_devices": processes > 1,
    }
    if mini_batch:
        return CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch, **options)
    return MultipleNegativesRankingLoss(model, **options)


def inner_products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Inner products of rows, (one, other), in float32 whatever the arithmetic of the layers.

    >>> inner_products(torch.ones(1, 2), torch.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [[3.0, 1.0]]
    """
    with torch.autocast(one.device.type, enabled=False):
        return one.float() @ other.float().T
