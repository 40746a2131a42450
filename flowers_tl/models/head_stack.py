"""Many final layers over the same features, as one batched matrix product."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from flowers_tl.data.sampling import derive_seed
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.optim import image_losses


class HeadStack:
    """Heads in ``rows`` x ``columns``: those of a row see the same batches under the same dropout.

    What is batched is the product alone. Each head's weights are a parameter of its own, which lies in the stack's memory
    and whose gradient is a part of the stack's: so any optimizer treats each head as if it were alone.

    Args:
        backbone: whose head the heads are copies of, with other weights.
        states: final layers' ``state_dict``s, row after row.
        columns: heads of a row.
        device: where they live.
    """

    def __init__(
        self, backbone: StagedNetwork, states: Sequence[dict[str, Tensor]], columns: int, device: torch.device
    ) -> None:
        head = next(stage for stage in backbone.stages if stage.name == "head")
        self.final = backbone.network.get_submodule(backbone.final)
        layers = [module for module in backbone.modules_of(head) if not list(module.children())]
        here = next(i for i, layer in enumerate(layers) if layer is self.final)
        self.before, self.after = layers[:here], layers[here + 1 :]
        self.prefix = f"{backbone.final}."
        self.columns, self.size = columns, len(states)
        self.stacked: dict[str, Tensor] = {}
        for name in states[0]:
            together = torch.stack([state[name] for state in states]).float().to(device)
            self.stacked[name] = together.unflatten(0, (-1, columns)).clone().requires_grad_(True)
            self.stacked[name].grad = torch.zeros_like(self.stacked[name])
        self.heads: list[list[nn.Parameter]] = [[] for _ in range(self.size)]
        for stacked in self.stacked.values():
            rows = zip(self.heads, stacked.detach().flatten(0, 1), stacked.grad.flatten(0, 1), strict=True)
            for parameters, weights, gradient in rows:
                parameters.append(nn.Parameter(weights))
                parameters[-1].grad = gradient
        self.random: list[Tensor] = []

    def state(self, number: int) -> dict[str, Tensor]:
        """A head's weights under the names that they have in the network; copies."""
        return {
            self.prefix + n: p.detach().cpu().clone() for n, p in zip(self.stacked, self.heads[number], strict=True)
        }

    def seed(self, seeds: Sequence[int], epoch: int) -> None:
        """Begin an epoch: what each row draws in it follows from its seed, as in a run of its own."""
        self.random = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(seed, epoch, 0))
                self.random.append(torch.get_rng_state())

    def logits(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Map what enters the head, (rows, n, ...) or the same for all (1, n, ...), to logits (heads, n, classes)."""
        for layer in (*self.before, *self.after):
            layer.train(training)
        rows = self._drop(inputs) if training else self._run(self.before, inputs.flatten(0, 1)).view_as(inputs)
        rows = rows.expand(self.size // self.columns, *rows.shape[1:])
        # The heads of a row are one layer.
        wide = {name: stacked.flatten(1, 2) for name, stacked in self.stacked.items()}
        outputs = vmap(lambda weights, x: functional_call(self.final, weights, (x,)))(wide, rows)
        outputs = outputs.unflatten(2, (self.columns, -1)).movedim(2, 1)
        return self._run(self.after, outputs.flatten(0, 2)).flatten(1).view(self.size, inputs.shape[1], -1)

    def _drop(self, inputs: Tensor) -> Tensor:
        """Run what precedes the final layer row by row, each with random numbers of its own."""
        rows = []
        with torch.random.fork_rng(devices=[]):
            for row, batch in enumerate(inputs):
                torch.set_rng_state(self.random[row])
                rows.append(self._run(self.before, batch))
                self.random[row] = torch.get_rng_state()
        return torch.stack(rows)

    @staticmethod
    def _run(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x.clone() if getattr(layer, "inplace", False) else x)
        return x

    def sums(self) -> Tensor:
        """The sum of each head's weights and gradients (heads,): not finite where one of them is not."""
        parts = [part for stacked in self.stacked.values() for part in (stacked.detach(), stacked.grad)]
        return torch.stack([part.flatten(0, 1).flatten(1).sum(dim=1) for part in parts]).sum(dim=0)

    def backward(
        self, inputs: Tensor, labels: Tensor, smoothing: float, class_weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Leave each head the gradient of its mean loss over its row's batch.

        Args:
            inputs: what enters the head, (rows, n, ...).
            labels: int64 (rows, n).
            smoothing: share of each label that is spread over all classes.
            class_weights: by which each class's losses are multiplied, float32 (classes,); None: all count alike.

        Returns:
            Each head's mean loss and number of right answers, both (heads,).
        """
        for stacked in self.stacked.values():
            stacked.grad.zero_()
        logits, labels = self.logits(inputs, training=True), labels.repeat_interleave(self.columns, dim=0)
        each = image_losses(logits.flatten(0, 1), labels.flatten(), class_weights, smoothing)
        losses = each.view(self.size, -1).mean(dim=1)
        losses.sum().backward()
        return losses.detach(), (logits.detach().argmax(dim=2) == labels).sum(dim=1)


def clip(stack: HeadStack, options: dict[str, Any]) -> None:
    """Clip each head's gradients as Lightning would those of a run of it alone."""
    clip_gradients = clip_grad_value_ if options["gradient_clip_algorithm"] == "value" else clip_grad_norm_
    for parameters in stack.heads if options["gradient_clip_val"] is not None else ():
        clip_gradients(parameters, options["gradient_clip_val"])
