"""A layer and the batch normalization after it as one layer, for evaluation."""

import copy

import minitorch

from ..parameter import Parameter


def fuse_conv_bn_eval(conv, bn, transpose=False):
    """A convolution that computes bn(conv(x)). `transpose`: conv is a transposed convolution."""
    shape = (1, -1) if transpose else (-1, 1)
    return _fused(conv, bn, shape + (1,) * (conv.weight.dim() - 2))


def fuse_linear_bn_eval(linear, bn):
    """A linear layer that computes bn(linear(x))."""
    if bn.num_features not in (linear.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, "
            f"got {linear.out_features} and {bn.num_features}"
        )
    return _fused(linear, bn, (-1, 1))


def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose=False):
    """The weight and the bias of fuse_conv_bn_eval, from the parts."""
    shape = (1, -1) if transpose else (-1, 1)
    return _fused_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape + (1,) * (conv_w.dim() - 2))


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """The weight and the bias of fuse_linear_bn_eval, from the parts."""
    return _fused_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (-1, 1))


def _fused(layer, bn, shape):
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval! Call eval() on both layers first")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    fused = copy.deepcopy(layer)
    fused.weight, fused.bias = _fused_weights(
        layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, shape
    )
    return fused


def _fused_weights(W, b, mean, var, eps, gamma, beta, shape):
    """gamma (W x + b - mean) / sqrt(var + eps) + beta  =  (s W) x + (b - mean) s + beta,  s = gamma / sqrt(var + eps)"""
    b = minitorch.zeros_like(mean) if b is None else b
    s = (var + eps).rsqrt() * (1.0 if gamma is None else gamma)
    bias = (b - mean) * s + (0.0 if beta is None else beta)
    return (
        Parameter((W * s.reshape(shape)).detach().to(W.dtype), W.requires_grad),
        Parameter(bias.detach().to(W.dtype), b.requires_grad),
    )
