"""The smallest TFLite file that holds filters, written without a framework."""

import flatbuffers
import numpy as np
import tflite


def one_convolution(weights: np.ndarray) -> bytes:
    """A file with one convolution; its weights have axes (out, height, width, in)."""
    out, _, _, channels = weights.shape
    builder = flatbuffers.Builder(1024)
    buffers = []
    for content in (b"", weights.astype(np.float32).tobytes(), bytes(4 * out)):
        data = builder.CreateByteVector(content)
        tflite.BufferStart(builder)
        tflite.BufferAddData(builder, data)
        buffers.append(tflite.BufferEnd(builder))
    shapes = {
        "x": ((1, 9, 9, channels), 0),
        "w": (weights.shape, 1),
        "bias": ((out,), 2),
        "y": ((1, 9, 9, out), 0),
    }
    tensors = [_tensor(builder, name, shape, buffer) for name, (shape, buffer) in shapes.items()]
    tflite.Conv2DOptionsStart(builder)
    tflite.Conv2DOptionsAddStrideW(builder, 1)
    tflite.Conv2DOptionsAddStrideH(builder, 1)
    options = tflite.Conv2DOptionsEnd(builder)
    given, made = _numbers(builder, [0, 1, 2]), _numbers(builder, [3])
    tflite.OperatorStart(builder)
    tflite.OperatorAddInputs(builder, given)
    tflite.OperatorAddOutputs(builder, made)
    tflite.OperatorAddBuiltinOptionsType(builder, tflite.BuiltinOptions.Conv2DOptions)
    tflite.OperatorAddBuiltinOptions(builder, options)
    operator = tflite.OperatorEnd(builder)
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, tflite.BuiltinOperator.CONV_2D)
    tflite.OperatorCodeAddBuiltinCode(builder, tflite.BuiltinOperator.CONV_2D)
    code = tflite.OperatorCodeEnd(builder)
    parts = {
        "Tensors": _offsets(builder, tensors),
        "Inputs": _numbers(builder, [0]),
        "Outputs": _numbers(builder, [3]),
        "Operators": _offsets(builder, [operator]),
    }
    tflite.SubGraphStart(builder)
    for name, part in parts.items():
        getattr(tflite, f"SubGraphAdd{name}")(builder, part)
    graph = tflite.SubGraphEnd(builder)
    codes, graphs, stored = (_offsets(builder, each) for each in ([code], [graph], buffers))
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, stored)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(builder, name, shape, buffer):
    sizes, text = _numbers(builder, shape), builder.CreateString(name)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, sizes)
    tflite.TensorAddType(builder, tflite.TensorType.FLOAT32)
    tflite.TensorAddBuffer(builder, buffer)
    tflite.TensorAddName(builder, text)
    return tflite.TensorEnd(builder)


def _numbers(builder, values):
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependInt32(value)
    return builder.EndVector()


def _offsets(builder, places):
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()
