"""Upgrades Caffe's older syntaxes: V0 (2013, one message for all parameters) and V1 (2014, types as numbers).

Source: ``upgrade_proto.cpp`` of BVLC Caffe 1.0.
"""

from __future__ import annotations

from pathlib import Path

from fullfield.errors import CaptureError
from fullfield.importers.caffe.schema import Message, message

_V1_NAMES = {
    "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL", "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution", "DATA": "Data",
    "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout", "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss", "ELTWISE": "Eltwise", "EXP": "Exp", "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData", "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "MEMORY_DATA": "MemoryData", "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "MVN": "MVN",
    "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence", "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "SLICE": "Slice", "TANH": "TanH",
    "WINDOW_DATA": "WindowData", "THRESHOLD": "Threshold", "NONE": "of unknown number",
}  # fmt: skip

_V0_NAMES = {
    "accuracy": "Accuracy", "bnll": "BNLL", "concat": "Concat", "conv": "Convolution", "data": "Data",
    "dropout": "Dropout", "euclidean_loss": "EuclideanLoss", "flatten": "Flatten", "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output", "im2col": "Im2col", "images": "ImageData", "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct", "lrn": "LRN", "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling", "relu": "ReLU", "sigmoid": "Sigmoid", "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss", "split": "Split", "tanh": "TanH", "window_data": "WindowData",
}  # fmt: skip

# For each type of a V0 layer: the parameter message of today, and its field for each V0 field.
_V0_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "conv": ("convolution_param", {
        "num_output": "num_output", "biasterm": "bias_term", "weight_filler": "weight_filler",
        "bias_filler": "bias_filler", "pad": "pad", "kernelsize": "kernel_size", "group": "group", "stride": "stride",
    }),
    "innerproduct": ("inner_product_param", {
        "num_output": "num_output", "biasterm": "bias_term", "weight_filler": "weight_filler",
        "bias_filler": "bias_filler",
    }),
    "pool": ("pooling_param", {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride", "pool": "pool"}),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "lrn": ("lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}),
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "data": ("transform_param", {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size"}),
    "images": ("transform_param", {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size"}),
    "window_data": ("transform_param", {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size"}),
}  # fmt: skip


def upgrade(net: Message, path: Path) -> Message:
    """The same network in today's syntax, with ``Input`` layers.

    Raises:
        CaptureError: old and new layers are mixed, or the numbers of inputs and of their shapes differ.
    """
    if net.layer and net.layers:
        raise CaptureError(str(path), "mixes `layer` and `layers`", fix="upgrade the file with Caffe's tools")
    if net.layer and not net.input:
        return _with_transforms(net)  # no copy: the blobs may be gigabytes
    made = message("NetParameter")(name=net.name)
    _add_inputs(net, made, path)
    made.layer.extend(net.layer)
    padding: dict[str, tuple[str, int]] = {}
    for old in net.layers:
        if old.HasField("layer"):
            if old.layer.type == "padding" and len(old.bottom) == 1 and len(old.top) == 1:
                padding[old.top[0]] = (old.bottom[0], old.layer.pad)
                continue
            _from_v0(old, made.layer.add(), padding)
        else:
            _from_v1(old, made.layer.add())
    return _with_transforms(made)


def _with_transforms(net: Message) -> Message:
    for layer in net.layer:
        _move_transform(layer)
    return net


def _add_inputs(net: Message, made: Message, path: Path) -> None:
    """Turns the network's ``input`` fields into ``Input`` layers."""
    shapes = [list(shape.dim) for shape in net.input_shape]
    if not shapes:
        dims = list(net.input_dim)
        shapes = [dims[at : at + 4] for at in range(0, len(dims), 4)]
        if len(dims) % 4:
            raise CaptureError(str(path), f"has {len(dims)} input_dim, not four an input", fix="give four an input")
    if net.input and len(shapes) not in (0, len(net.input)):
        what = f"has {len(net.input)} inputs with {len(shapes)} shapes"
        raise CaptureError(str(path), what, fix="give every input a shape")
    for position, name in enumerate(net.input):
        layer = made.layer.add(name=name, type="Input", top=[name])
        if shapes:
            layer.input_param.shape.add(dim=shapes[position])


def _from_v1(old: Message, new: Message) -> None:
    number = old.type
    word = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[number].name
    _common(old, new, old.name, _V1_NAMES[word], old)
    new.include.extend(old.include)
    new.exclude.extend(old.exclude)
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)
    for position, name in enumerate(old.param):
        _spec(new, position).name = name


def _from_v0(old: Message, new: Message, padding: dict[str, tuple[str, int]]) -> None:
    source = old.layer
    _common(old, new, source.name, _V0_NAMES.get(source.type, source.type or "of no type"), source)
    parameters, fields = _V0_FIELDS.get(source.type, ("", {}))
    for theirs, ours in fields.items():
        if source.HasField(theirs):
            target, value = getattr(new, parameters), getattr(source, theirs)
            if target.DESCRIPTOR.fields_by_name[ours].message_type is not None:
                getattr(target, ours).CopyFrom(value)
            elif target.DESCRIPTOR.fields_by_name[ours].is_repeated:
                getattr(target, ours).append(value)
            else:
                setattr(target, ours, value)
    for position, bottom in enumerate(new.bottom):
        if bottom in padding and source.type == "conv":
            new.bottom[position], pad = padding[bottom]
            new.convolution_param.pad[:] = [pad]


def _common(old: Message, new: Message, name: str, kind: str, owner: Message) -> None:
    """Copies name, type, blobs and the factors of learning rate and weight decay."""
    new.name, new.type = name, kind
    new.bottom.extend(old.bottom)
    new.top.extend(old.top)
    new.blobs.extend(owner.blobs)
    for position, factor in enumerate(owner.blobs_lr):
        _spec(new, position).lr_mult = factor
    for position, factor in enumerate(owner.weight_decay):
        _spec(new, position).decay_mult = factor


def _spec(layer: Message, position: int) -> Message:
    while len(layer.param) <= position:
        layer.param.add()
    return layer.param[position]


def _move_transform(layer: Message) -> None:
    """Moves scale, mean and crop of old data layers into ``transform_param``."""
    source = {
        "Data": layer.data_param,
        "ImageData": layer.image_data_param,
        "WindowData": layer.window_data_param,
    }.get(layer.type)
    if source is None:
        return
    for name in ("scale", "mean_file", "crop_size"):
        if source.HasField(name) and not layer.transform_param.HasField(name):
            setattr(layer.transform_param, name, getattr(source, name))
