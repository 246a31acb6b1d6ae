"""The protobuf messages of Caffe files, in separate descriptor pools, so that other packages' messages cannot clash.

A field is ``name number type`` and optionally a default; ``*`` means repeated, and the values of ``enum(...)`` count
from 0 unless they state numbers. Fields that do not change results (engines, solver state) are left out.

Blobs have two descriptions. In binary files a packed ``repeated float`` is encoded like one ``bytes`` field, which is
read without a copy; text files list the numbers.

Source: ``caffe.proto`` of BVLC Caffe 1.0.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # ships no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

Message = Any
"""A protobuf message; the classes are created at run time and have no static types."""

_V1_TYPES = (
    "NONE=0 ABSVAL=35 ACCURACY=1 ARGMAX=30 BNLL=2 CONCAT=3 CONTRASTIVE_LOSS=37 CONVOLUTION=4 DATA=5 DECONVOLUTION=39 "
    "DROPOUT=6 DUMMY_DATA=32 EUCLIDEAN_LOSS=7 ELTWISE=25 EXP=38 FLATTEN=8 HDF5_DATA=9 HDF5_OUTPUT=10 HINGE_LOSS=28 "
    "IM2COL=11 IMAGE_DATA=12 INFOGAIN_LOSS=13 INNER_PRODUCT=14 LRN=15 MEMORY_DATA=29 MULTINOMIAL_LOGISTIC_LOSS=16 "
    "MVN=34 POOLING=17 POWER=26 RELU=18 SIGMOID=19 SIGMOID_CROSS_ENTROPY_LOSS=27 SILENCE=36 SOFTMAX=20 "
    "SOFTMAX_LOSS=21 SPLIT=22 SLICE=33 TANH=23 WINDOW_DATA=24 THRESHOLD=31"
)

_V1_PARAMETERS = {
    "concat": 9, "convolution": 10, "data": 11, "dropout": 12, "dummy_data": 26, "eltwise": 24, "exp": 41,
    "image_data": 15, "inner_product": 17, "lrn": 18, "memory_data": 22, "mvn": 34, "pooling": 19,
    "power": 21, "relu": 30, "slice": 31, "softmax": 39, "threshold": 25, "transform": 36, "window_data": 20,
}  # fmt: skip
_V2_PARAMETERS = {
    "batch_norm": 139, "bias": 141, "clip": 148, "concat": 104, "convolution": 106, "crop": 144, "data": 107,
    "dropout": 108, "dummy_data": 109, "eltwise": 110, "elu": 140, "exp": 111, "flatten": 135, "image_data": 115,
    "inner_product": 117, "input": 143, "log": 134, "lrn": 118, "memory_data": 119, "mvn": 120, "pooling": 121,
    "power": 122, "prelu": 131, "relu": 123, "reshape": 133, "scale": 142, "slice": 126, "softmax": 125,
    "swish": 147, "threshold": 128, "transform": 100, "window_data": 129,
}  # fmt: skip
_MESSAGE_OF = {
    "transform": "TransformationParameter", "batch_norm": "BatchNormParameter", "dummy_data": "DummyDataParameter",
    "image_data": "DataParameter", "data": "DataParameter", "window_data": "DataParameter",
    "inner_product": "InnerProductParameter", "memory_data": "MemoryDataParameter", "lrn": "LRNParameter",
    "mvn": "MVNParameter", "relu": "ReLUParameter", "prelu": "PReLUParameter", "elu": "ELUParameter",
    "log": "ExpParameter",
}  # fmt: skip


def _parameters(numbers: dict[str, int]) -> str:
    """Fields ``<name>_param`` of a layer."""
    kinds = {name: _MESSAGE_OF.get(name, f"{name.capitalize()}Parameter") for name in numbers}
    return "; ".join(f"{name}_param {number} {kinds[name]}" for name, number in numbers.items())


_SPATIAL = "num_output 1 uint32; bias_term 2 bool true; group 5 uint32 1; weight_filler 7 FillerParameter"

_MESSAGES = {
    "BlobShape": "dim 1 int64*",
    "FillerParameter": "type 1 string constant; value 2 float 0; min 3 float 0; max 4 float 1; mean 5 float 0; "
    "std 6 float 1; sparse 7 int32 -1; variance_norm 8 enum(FAN_IN FAN_OUT AVERAGE)",
    "NetParameter": "name 1 string; input 3 string*; input_shape 8 BlobShape*; input_dim 4 int32*; "
    "layer 100 LayerParameter*; layers 2 V1LayerParameter*",
    "NetStateRule": "phase 1 enum(TRAIN TEST); min_level 2 int32; max_level 3 int32; stage 4 string*; "
    "not_stage 5 string*",
    "ParamSpec": "name 1 string; lr_mult 3 float 1; decay_mult 4 float 1",
    "LayerParameter": "name 1 string; type 2 string; bottom 3 string*; top 4 string*; param 6 ParamSpec*; "
    f"blobs 7 BlobProto*; include 8 NetStateRule*; exclude 9 NetStateRule*; {_parameters(_V2_PARAMETERS)}",
    "V1LayerParameter": "layer 1 V0LayerParameter; bottom 2 string*; top 3 string*; name 4 string; "
    f"type 5 enum({_V1_TYPES}); blobs 6 BlobProto*; param 1001 string*; blobs_lr 7 float*; weight_decay 8 float*; "
    f"include 32 NetStateRule*; exclude 33 NetStateRule*; {_parameters(_V1_PARAMETERS)}",
    "V0LayerParameter": "name 1 string; type 2 string; num_output 3 uint32; biasterm 4 bool true; "
    "weight_filler 5 FillerParameter; bias_filler 6 FillerParameter; pad 7 uint32 0; kernelsize 8 uint32; "
    "group 9 uint32 1; stride 10 uint32 1; pool 11 enum(MAX AVE STOCHASTIC); dropout_ratio 12 float 0.5; "
    "local_size 13 uint32 5; alpha 14 float 1; beta 15 float 0.75; source 16 string; scale 17 float 1; "
    "meanfile 18 string; batchsize 19 uint32; cropsize 20 uint32 0; blobs 50 BlobProto*; blobs_lr 51 float*; "
    "weight_decay 52 float*; concat_dim 65 uint32 1; k 22 float 1",
    "TransformationParameter": "scale 1 float 1; crop_size 3 uint32 0; mean_file 4 string; mean_value 5 float*; "
    "force_color 6 bool; force_gray 7 bool",
    "DataParameter": "source 1 string; scale 2 float 1; mean_file 3 string; batch_size 4 uint32; crop_size 5 uint32 0; "
    "is_color 11 bool true; new_height 9 uint32; new_width 10 uint32",
    "MemoryDataParameter": "batch_size 1 uint32; channels 2 uint32; height 3 uint32; width 4 uint32",
    "DummyDataParameter": "num 2 uint32*; channels 3 uint32*; height 4 uint32*; width 5 uint32*; shape 6 BlobShape*",
    "InputParameter": "shape 1 BlobShape*",
    "ConvolutionParameter": f"{_SPATIAL}; bias_filler 8 FillerParameter; pad 3 uint32*; kernel_size 4 uint32*; "
    "stride 6 uint32*; dilation 18 uint32*; pad_h 9 uint32; pad_w 10 uint32; kernel_h 11 uint32; kernel_w 12 uint32; "
    "stride_h 13 uint32; stride_w 14 uint32; axis 16 int32 1",
    "PoolingParameter": "pool 1 enum(MAX AVE STOCHASTIC); pad 4 uint32 0; pad_h 9 uint32; pad_w 10 uint32; "
    "kernel_size 2 uint32; kernel_h 5 uint32; kernel_w 6 uint32; stride 3 uint32 1; stride_h 7 uint32; "
    "stride_w 8 uint32; global_pooling 12 bool false; round_mode 13 enum(CEIL FLOOR); ceil_mode 20001 bool true",
    "InnerProductParameter": "num_output 1 uint32; bias_term 2 bool true; weight_filler 3 FillerParameter; "
    "bias_filler 4 FillerParameter; axis 5 int32 1; transpose 6 bool false",
    "LRNParameter": "local_size 1 uint32 5; alpha 2 float 1; beta 3 float 0.75; "
    "norm_region 4 enum(ACROSS_CHANNELS WITHIN_CHANNEL); k 5 float 1",
    "ReLUParameter": "negative_slope 1 float 0",
    "PReLUParameter": "filler 1 FillerParameter; channel_shared 2 bool false",
    "ELUParameter": "alpha 1 float 1",
    "SwishParameter": "beta 1 float 1",
    "DropoutParameter": "dropout_ratio 1 float 0.5",
    "SoftmaxParameter": "axis 2 int32 1",
    "ConcatParameter": "axis 2 int32 1; concat_dim 1 uint32 1",
    "SliceParameter": "axis 3 int32 1; slice_point 2 uint32*; slice_dim 1 uint32 1",
    "EltwiseParameter": "operation 1 enum(PROD SUM MAX) SUM; coeff 2 float*",
    "BatchNormParameter": "use_global_stats 1 bool; moving_average_fraction 2 float 0.999; eps 3 float 1e-5",
    "ScaleParameter": "axis 1 int32 1; num_axes 2 int32 1; filler 3 FillerParameter; bias_term 4 bool false; "
    "bias_filler 5 FillerParameter",
    "BiasParameter": "axis 1 int32 1; num_axes 2 int32 1; filler 3 FillerParameter",
    "FlattenParameter": "axis 1 int32 1; end_axis 2 int32 -1",
    "ReshapeParameter": "shape 1 BlobShape; axis 2 int32 0; num_axes 3 int32 -1",
    "CropParameter": "axis 1 int32 2; offset 2 uint32*",
    "PowerParameter": "power 1 float 1; scale 2 float 1; shift 3 float 0",
    "ExpParameter": "base 1 float -1; scale 2 float 1; shift 3 float 0",
    "ClipParameter": "min 1 float; max 2 float",
    "ThresholdParameter": "threshold 1 float 0",
    "MVNParameter": "normalize_variance 1 bool true; across_channels 2 bool false; eps 3 float 1e-9",
}
_BLOB = "shape 7 BlobShape; num 1 int32 0; channels 2 int32 0; height 3 int32 0; width 4 int32 0; "
_NUMBERS = "data 5 float*; double_data 8 double*"
_RAW = "data 5 bytes*; double_data 8 bytes*"


@cache
def message(name: str, *, raw: bool = True) -> Any:
    """The class of a message; with ``raw``, blobs store their numbers as little-endian bytes."""
    return message_factory.GetMessageClass(_pool(raw).FindMessageTypeByName(f"fullfield.caffe.{name}"))


@cache
def _pool(raw: bool) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="fullfield.caffe", syntax="proto2")
    for name, fields in (_MESSAGES | {"BlobProto": _BLOB + (_RAW if raw else _NUMBERS)}).items():
        entry = file.message_type.add(name=name)
        for text in fields.split("; "):
            _add_field(entry, text)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(entry: Message, text: str) -> None:
    found = re.fullmatch(r"(\w+) (\d+) (enum\((?P<values>.*)\)|\w+)(\*?)(?: (\S+))?", text)
    assert found is not None, text
    name, number, kind, values, many, default = found[1], found[2], found[3], found["values"], found[5], found[6]
    proto = descriptor_pb2.FieldDescriptorProto
    field = entry.field.add(name=name, number=int(number))
    field.label = proto.LABEL_REPEATED if many else proto.LABEL_OPTIONAL
    if values is not None:
        enum = entry.enum_type.add(name=f"{name}_values")
        for position, value in enumerate(values.split()):
            word, _, given = value.partition("=")
            enum.value.add(name=word, number=int(given or position))
        field.type, field.type_name = proto.TYPE_ENUM, f".fullfield.caffe.{entry.name}.{enum.name}"
    elif kind[0].isupper():
        field.type, field.type_name = proto.TYPE_MESSAGE, f".fullfield.caffe.{kind}"
    else:
        field.type = getattr(proto, f"TYPE_{kind.upper()}")
    if default is not None:
        field.default_value = default
    if many and kind in ("float", "double", "int64"):
        field.options.packed = True
