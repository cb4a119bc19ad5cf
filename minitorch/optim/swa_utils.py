"""Averages of a model's weights over the training: their plain mean (SWA) or an exponential one (EMA).

averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
... after every optimizer.step():  averaged.update_parameters(model)
update_bn(loader, averaged)        # batch normalization's statistics, at the end
"""

import math
from copy import deepcopy
from itertools import chain

import minitorch

from ..autograd import no_grad
from ..nn.batchnorm import _BatchNorm
from ..nn.module import Module
from .lr_scheduler import LRScheduler, _for_each_group


def _check_decay(decay):
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_avg_fn(decay=0.999):
    """a <- decay a + (1 - decay) theta, of one tensor."""
    _check_decay(decay)

    def average(averaged, current, num_averaged):
        return decay * averaged + (1 - decay) * current

    return average


def get_swa_avg_fn():
    """a <- a + (theta - a) / (n + 1): the mean of all, of one tensor."""

    def average(averaged, current, num_averaged):
        return averaged + (current - averaged) / (num_averaged + 1)

    return average


def _of_lists(average):
    def average_all(averaged, current, num_averaged):
        with no_grad():
            for a, p in zip(averaged, current):
                a.copy_(average(a, p, num_averaged))

    return average_all


def get_ema_multi_avg_fn(decay=0.999):
    """get_ema_avg_fn's average, of lists of tensors."""
    return _of_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn():
    """get_swa_avg_fn's average, of lists of tensors."""
    return _of_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters become averages of the model's; arXiv:1803.05407.

    `avg_fn(averaged, current, n)` gives the new average of one tensor, `multi_avg_fn` changes lists of them in place;
    without either: the mean. Buffers are averaged too with use_buffers, else copied.
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", minitorch.tensor(0, dtype=minitorch.long, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model):
        """Take the model's present weights into the average; the first time they are copied."""

        def tensors(module):
            return list(chain(module.parameters(), module.buffers() if self.use_buffers else ()))

        averaged = [a.detach() for a in tensors(self.module)]
        current = [p.detach().to(a.device) for a, p in zip(averaged, tensors(model))]
        if self.n_averaged == 0:
            for a, p in zip(averaged, current):
                a.copy_(p)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(averaged, current, self.n_averaged)
        else:
            _of_lists(self.avg_fn or get_swa_avg_fn())(averaged, current, self.n_averaged)
        if not self.use_buffers:
            for a, b in zip(self.module.buffers(), model.buffers()):
                a.copy_(b.to(a.device))
        self.n_averaged += 1


@no_grad()
def update_bn(loader, model, device=None):
    """Compute the running statistics of batch normalization anew, as means over the loader's batches.

    A batch that is a list or a tuple begins with the input.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    before = [layer.momentum for layer in layers]
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
    for batch in loader:
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(batch if device is None else batch.to(device))
    for layer, momentum in zip(layers, before):
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the present rate to swa_lr in anneal_epochs steps, along half a cosine or a line; then it stays there."""

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        for group, lr in zip(optimizer.param_groups, _for_each_group("swa_lr", optimizer, swa_lr)):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _part(self, step):
        """How much of the way to swa_lr has been gone after so many steps."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self):
        step = max(self._step_count - 1, 1 if self.anneal_epochs == 0 else 0)
        before, now = self._part(step - 1), self._part(step)
        lrs = []
        for group, lr in zip(self.optimizer.param_groups, self._lrs()):
            target = group["swa_lr"]
            start = target if before == 1 else (lr - before * target) / (1 - before)
            lrs.append(target * now + start * (1 - now))
        return lrs
